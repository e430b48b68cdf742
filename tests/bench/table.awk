# Runs after medians.awk: prints the table of medians, with the least and the greatest figure beside each. Then how many
# times as fast libmp is as every other system, at the work that both did.
function pad(text, width,    plain) {
    plain = text
    gsub(/µ/, "u", plain) # one character, but two bytes to some awks
    while (length(plain) < width) {
        plain = plain " "
        text = text " "
    }
    return text
}

END {
    for (r = 1; r <= row_count; r++) {
        row = rows[r]
        if (is_sweep(work_of[row]))
            continue
        if (length(system_of[row]) > widest)
            widest = length(system_of[row])
        if (length(work_of[row]) > longest)
            longest = length(work_of[row])
    }
    print pad("system", widest) " | " pad("work", longest) " |     figure | unit  |      least .. greatest"
    for (w = 1; w <= work_count; w++) {
        if (is_sweep(works[w]))
            continue
        n = split(rows_of[works[w]], list, SUBSEP)
        for (i = 1; i <= n; i++) {
            row = list[i]
            printf "%s | %s | %10s | %s | %10s .. %s\n", pad(system_of[row], widest), pad(work_of[row], longest),
                digits(middle[row]), pad(unit[row], 5), digits(least[row]), digits(most[row])
        }
    }
    print "\nlibmp is so many times as fast"
    for (w = 1; w <= work_count; w++) {
        if (is_sweep(works[w]))
            continue
        libmp = "libmp," works[w]
        n = split(rows_of[works[w]], list, SUBSEP)
        for (i = 1; i <= n; i++) {
            row = list[i]
            times = times_as_good(libmp, row)
            if (row == libmp || unit[row] == "share" || times == 0)
                continue
            printf "%s | %10s | as %s\n", pad(works[w], longest), digits(times), system_of[row]
        }
    }
}
