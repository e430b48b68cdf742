# Sourced by run.sh after a run: writes RESULTS.md, results.csv and charts/*.svg in $report.
bench=$root/tests/bench

# The value of a line of /proc/cpuinfo or of lscpu.
about() {
    sed -n "s/^[[:space:]]*$1[[:space:]]*:[[:space:]]*//p" | head -n 1
}

machine() {
    echo "- CPU: $(about 'model name' </proc/cpuinfo), $(nproc) in use of $(getconf _NPROCESSORS_ONLN)"
    if command -v lscpu >/dev/null; then
        lscpu | sed -n 's/^\(L[123][di]*\) cache:[[:space:]]*/- \1 cache: /p; s/^Hypervisor vendor:[[:space:]]*/- a virtual machine of /p'
    fi
    echo "- memory: $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
    echo "- system: $(uname -sr), $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)"
    echo "- compiler: $(gcc --version | head -n 1), -O2"
    echo "- load before: $load; rounds: $rounds"
    if [ -n "$peers" ] && command -v dpkg-query >/dev/null; then
        echo "- packages: $(dpkg-query -W -f '${Package} ${Version}, ' libabsl-dev libboost-dev liblmdb-dev libtdb-dev libglib2.0-dev \
            libtbb-dev redis-server libmce-perl openmpi-bin python3 2>/dev/null | sed 's/, $//')"
    fi
}

chart_links() {
    for chart in "$report"/charts/*.svg; do
        [ -e "$chart" ] || return 0
        name=$(basename "$chart" .svg)
        printf '\n![%s](charts/%s.svg)\n' "$(echo "$name" | tr - ' ')" "$name"
    done
}

rm -rf "$report/charts"
mkdir -p "$report/charts"
{ echo round,system,work,figure,unit; cat "$build/all.csv"; } >"$report/results.csv"
if grep -q '|' "$build/all.csv"; then
    awk -v FOLDER="$report/charts" -f "$bench/medians.awk" -f "$bench/charts.awk" "$build/all.csv" | gnuplot
fi
{
    cat <<TEXT
# What libmp costs, and what others cost

Written by \`sh tests/bench/run.sh $arguments\` on $(date -u +%Y-%m-%d); every single figure is in [results.csv](results.csv). Run it
on your own machine: ratios travel, absolute figures do not.

$(machine)
$(for program in $left_out; do echo "- left out, as it could not be built or failed: $(basename "$program")"; done)

## How to read it

All systems do the same work, by turns: one round of all after another, so that what disturbs the machine disturbs all alike. A
figure is the median of the rounds, beside it the least and the greatest. The last column tells who is better, libmp or the system of
that line, and how many times as fast or as small it is; where the other one wins, it is in bold. Units that end in /s and shares are
better when high, all others when low.

A dict has 1 million random keys of 16 bytes and 8-byte integers as values, reached in random order, the same for all. "By 2
processes" is the sum of both. libmp keeps its contents whole when a process is killed inside an operation. So does LMDB, and so do Redis
and Python's manager as long as their server lives; with the others the lock stays taken, or what it guards half done. What they are:

$(cat "$bench/peers/peers.md")

## Figures
TEXT
    awk -f "$bench/medians.awk" -f "$bench/report.awk" "$build/all.csv"
    echo
    cat "$bench/limits.md"
    echo
    cat "$bench/readers.md"
    if [ -n "$sweep" ]; then
        printf '\n## Charts\n\nBoth axes are logarithmic.\n'
        chart_links
    fi
} >"$report/RESULTS.md"
echo "Written: $report/RESULTS.md, results.csv, charts"
