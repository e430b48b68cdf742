# Runs after medians.awk: prints a gnuplot script that draws a chart of each sweep, FOLDER/work-by-what.svg, with a line
# for each system. A system has the same colour in all charts.
function file_name(name) {
    gsub(/µ/, "u", name)
    gsub(/[^A-Za-z0-9]+/, "-", name)
    return name
}

function colour_of(name) {
    if (name == "libmp")
        return "#d00000"
    if (!(name in colour))
        colour[name] = palette[colours++ % palette_size + 1]
    return colour[name]
}

# A sweep that starts at 0 is drawn from 0.1, because a logarithmic axis has no 0.
function place(x) {
    return x == 0 ? 0.1 : x
}

function print_data(chart,    i, n, list) {
    n = split(systems_of[chart], list, SUBSEP)
    for (i = 1; i <= n; i++)
        printf "$data%d << END\n%sEND\n", i, points[chart, list[i]]
}

function print_plot(chart,    i, n, list) {
    n = split(systems_of[chart], list, SUBSEP)
    printf "plot "
    for (i = 1; i <= n; i++)
        printf "%s$data%d using 1:2 with linespoints lc rgb \"%s\" lw %s pt 7 ps 0.5 title \"%s\"", (i > 1 ? ", " : ""), i,
            colour_of(list[i]), (list[i] == "libmp" ? 3 : 1.5), list[i]
    if (work_of_chart[chart] == "task by 2 workers")
        printf ", x / 2 with lines lc rgb \"#999999\" dt 2 title \"nothing lost\""
    print ""
}

function print_chart(chart,    low) {
    print "reset"
    printf "set output \"%s/%s-by-%s.svg\"\n", FOLDER, file_name(work_of_chart[chart]), file_name(varied[chart])
    print_data(chart)
    printf "set title \"%s (%s is better)\"\n", work_of_chart[chart], (high_is_good(unit_of[chart]) ? "high" : "low")
    printf "set xlabel \"%s\"\nset ylabel \"%s\"\n", varied[chart], unit_of[chart]
    print "set logscale xy\nset autoscale xfix\nset grid lc rgb \"#dddddd\"\nset key outside right top\nset format x \"%.0s%c\""
    if (from_zero[chart])
        print "set xtics (\"0\" 0.1, \"1\" 1, \"10\" 10, \"100\" 100, \"1000\" 1000, \"10000\" 10000)"
    else if (varied[chart] == "processes" || varied[chart] == "workers")
        print "set xtics (1, 2, 4, 8, 16, 32, 64)\nset xrange [0.9:72]"
    print_plot(chart)
}

END {
    palette_size = split("#1f77b4 #2ca02c #9467bd #8c564b #e377c2 #ff7f0e #17becf #bcbd22 #4b0082 #555555 #006d5b #a0522d #6a8fff #ff69b4 #808000 #000000", palette, " ")
    for (r = 1; r <= row_count; r++) {
        row = rows[r]
        if (split(work_of[row], part, "|") != 3)
            continue
        chart = part[1] "|" part[2]
        if (!(chart in unit_of)) {
            charts[++chart_count] = chart
            unit_of[chart] = unit[row]
            work_of_chart[chart] = part[1]
            varied[chart] = part[2]
        }
        if (!((chart, system_of[row]) in points))
            systems_of[chart] = systems_of[chart] (systems_of[chart] == "" ? "" : SUBSEP) system_of[row]
        points[chart, system_of[row]] = points[chart, system_of[row]] place(part[3]) " " middle[row] "\n"
        from_zero[chart] += part[3] == 0
    }
    print "set terminal svg noenhanced size 860,440 background rgb \"white\""
    for (c = 1; c <= chart_count; c++)
        print_chart(charts[c])
}
