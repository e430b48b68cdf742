# Runs after medians.awk: prints the tables of RESULTS.md, one for each topic, and then the works in which another
# system wins.
function topic_of(work) {
    if (work ~ /^dict /)
        return "Dict"
    if (work ~ /^list /)
        return "List"
    if (work ~ /^lock /)
        return "Lock"
    if (work ~ /^process /)
        return "Process"
    return work ~ /^(dependent|two|first write) / ? "The machine" : "Pool"
}

# The rows of a work, the best first.
function rank(work, list,    n, i, j, row) {
    n = split(rows_of[work], list, SUBSEP)
    for (i = 2; i <= n; i++) {
        row = list[i]
        for (j = i - 1; j > 0 && (high_is_good(unit[row]) ? middle[list[j]] < middle[row] : middle[list[j]] > middle[row]); j--)
            list[j + 1] = list[j]
        list[j + 1] = row
    }
    return n
}

function spread(row) {
    return digits(least[row]) " … " digits(most[row])
}

function better(row, times) {
    if (system_of[row] == "libmp" || times == 0)
        return ""
    return times > 1 ? "**" system_of[row] " " digits(times) " ×**" : "libmp " digits(1 / times) " ×"
}

function print_work(work,    list, n, i, row, libmp, times, bold) {
    libmp = "libmp," work
    n = rank(work, list)
    for (i = 1; i <= n; i++) {
        row = list[i]
        times = times_as_good(row, libmp)
        bold = row == libmp ? "**" : ""
        printf "| %s | %s%s%s | %s %s | %s | %s |\n", (i == 1 ? work : ""), bold, system_of[row], bold, digits(middle[row]), unit[row],
            spread(row), better(row, times)
    }
}

function print_topic(topic,    w, begun) {
    for (w = 1; w <= work_count; w++) {
        if (is_sweep(works[w]) || topic_of(works[w]) != topic)
            continue
        if (!begun)
            printf "\n### %s\n\n| work | system | median | least … greatest | who is better |\n|---|---|---|---|---|\n", topic
        begun = 1
        print_work(works[w])
    }
}

function overlap(one, other) {
    return least[one] <= most[other] && least[other] <= most[one]
}

function print_winners(    w, list, n, i, row, libmp, found) {
    for (w = 1; w <= work_count; w++) {
        if (is_sweep(works[w]))
            continue
        libmp = "libmp," works[w]
        n = rank(works[w], list)
        for (i = 1; i <= n && list[i] != libmp; i++) {
            row = list[i]
            if (times_as_good(row, libmp) <= 1 || system_of[row] == "no dict at all")
                continue
            printf "- %s: **%s**, %s times as good (%s against %s %s%s)\n", works[w], system_of[row],
                digits(times_as_good(row, libmp)), digits(middle[row]), digits(middle[libmp]), unit[row],
                (overlap(row, libmp) ? "; within the spread" : "")
            found = 1
        }
    }
    if (!found)
        print "Nowhere in this run."
}

END {
    print_topic("Dict")
    print_topic("List")
    print_topic("Lock")
    print_topic("Pool")
    print_topic("Process")
    print_topic("The machine")
    print "\n## Where somebody else wins\n"
    print_winners()
}
