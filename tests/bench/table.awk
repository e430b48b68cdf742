# Reads lines `round,system,work,figure,unit` and prints the table of medians, with the least and the greatest figure beside
# each; then how many times as fast as every other system libmp is at the work that both did.
function pad(text, width,    plain) {
    plain = text
    gsub(/µ/, "u", plain) # one character, but two bytes to some awks
    while (length(plain) < width) {
        plain = plain " "
        text = text " "
    }
    return text
}

function sort(row, n,    i, j, value) {
    for (i = 2; i <= n; i++) {
        value = figure[row, i]
        for (j = i - 1; j > 0 && figure[row, j] > value; j--)
            figure[row, j + 1] = figure[row, j]
        figure[row, j + 1] = value
    }
}

function median(row, n) {
    return n % 2 ? figure[row, (n + 1) / 2] : (figure[row, n / 2] + figure[row, n / 2 + 1]) / 2
}

# Four digits, and no exponent.
function digits(value) {
    return value < 1000 ? sprintf("%.4g", value) : sprintf("%.0f", value)
}

BEGIN { FS = "," }

{
    row = $2 "," $3
    if (!(row in unit)) {
        order[++rows] = row
        system_of[row] = $2
        work_of[row] = $3
        unit[row] = $5
        if (length($2) > widest)
            widest = length($2)
        if (!($3 in seen)) {
            seen[$3] = 1
            works[++work_count] = $3
        }
        rows_of[$3] = rows_of[$3] (rows_of[$3] == "" ? "" : SUBSEP) row
    }
    figure[row, ++count[row]] = $4 + 0
}

END {
    print pad("system", widest) " | " pad("work", 37) " |     figure | unit  |  least .. greatest"
    for (w = 1; w <= work_count; w++) {
        n = split(rows_of[works[w]], list, SUBSEP)
        for (i = 1; i <= n; i++) {
            row = list[i]
            sort(row, count[row])
            middle[row] = median(row, count[row])
            printf "%s | %s | %10s | %s | %10s .. %s\n", pad(system_of[row], widest), pad(work_of[row], 37),
                digits(middle[row]), pad(unit[row], 5), digits(figure[row, 1]), digits(figure[row, count[row]])
        }
    }
    print "\nlibmp is so many times as fast"
    for (w = 1; w <= work_count; w++) {
        libmp = "libmp," works[w]
        n = split(rows_of[works[w]], list, SUBSEP)
        for (i = 1; i <= n; i++) {
            row = list[i]
            if (row == libmp || !(libmp in middle) || unit[row] == "share" || middle[row] == 0 || middle[libmp] == 0)
                continue
            times = unit[row] ~ /\/s$/ ? middle[libmp] / middle[row] : middle[row] / middle[libmp]
            printf "%s | %10s | as %s\n", pad(works[w], 37), digits(times), system_of[row]
        }
    }
}
