# Reads lines `round,system,work,figure,unit`, for the scripts that follow it. Each work of a system is a row,
# `system,work`, with its median, least and greatest figure and its unit. Works are in the order of their first line,
# each with its rows. A work of a sweep is named `work|what is varied|its value`.
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

# Four digits, without an exponent.
function digits(value) {
    return value < 1000 ? sprintf("%.4g", value) : sprintf("%.0f", value)
}

function is_sweep(work) {
    return index(work, "|") > 0
}

function high_is_good(unit) {
    return unit ~ /\/s$/ || unit == "share"
}

# How many times as good the median of the one row is as that of the other; 0 if they cannot be compared.
function times_as_good(one, other) {
    if (!(one in middle) || !(other in middle) || middle[one] == 0 || middle[other] == 0)
        return 0
    return high_is_good(unit[one]) ? middle[one] / middle[other] : middle[other] / middle[one]
}

BEGIN { FS = "," }

{
    row = $2 "," $3
    if (!(row in unit)) {
        rows[++row_count] = row
        system_of[row] = $2
        work_of[row] = $3
        unit[row] = $5
        if (!($3 in seen)) {
            seen[$3] = 1
            works[++work_count] = $3
        }
        rows_of[$3] = rows_of[$3] (rows_of[$3] == "" ? "" : SUBSEP) row
    }
    figure[row, ++count[row]] = $4 + 0
}

END {
    for (r = 1; r <= row_count; r++) {
        row = rows[r]
        sort(row, count[row])
        middle[row] = median(row, count[row])
        least[row] = figure[row, 1]
        most[row] = figure[row, count[row]]
    }
}
