#!/bin/sh
# Builds libmp and its benchmarks and runs them, on a fresh machine too; prints one table.
#   sh tests/bench/run.sh [--quick] [--rounds N] [--csv FILE] [WORD]
# --quick takes seconds: it shows that all run, its figures mean little. --rounds: of how many rounds to take the medians (3).
# --csv also writes every single figure to a file, as lines `round,system,work,figure,unit`. WORD: only works with it in
# their name. BUILD names another build folder, CMAKE_FLAGS adds to how it is configured, PYTHON names another python3.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/tests/need.sh"
need gcc gcc
need '/usr/include/stdio.h' libc6-dev
need make make
need cmake cmake
install_missing

quick= rounds= csv= word=
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=--quick ;;
    --rounds) rounds=$2; shift ;;
    --csv) csv=$2; shift ;;
    -*) echo "Unknown option $1" >&2; exit 2 ;;
    *) word=$1 ;;
    esac
    shift
done
if [ -z "$rounds" ]; then
    if [ -n "$quick" ]; then rounds=1; else rounds=3; fi
fi

build=${BUILD:-$root/build/bench}
# shellcheck disable=SC2086
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="-O2 -DNDEBUG" -DMP_BENCHMARKS=ON \
    ${CMAKE_FLAGS:-} >/dev/null
cmake --build "$build" -j "$(nproc)" >/dev/null

python=${PYTHON:-/usr/bin/python3}
[ -x "$python" ] || python=$(command -v python3 || true)

# measure COMMAND...: one round of one program; its figures go to the file of all.
measure() {
    "$@" $quick ${word:+"$word"} >"$build/figures"
    sed "s/^/$round,/" "$build/figures" >>"$build/all.csv"
}

load=$(cut -d ' ' -f 1 /proc/loadavg)
: >"$build/all.csv"
round=1
while [ "$round" -le "$rounds" ]; do
    for program in "$build"/tests/bench/bench_*; do
        measure "$program"
    done
    if [ -n "$python" ]; then
        measure "$python" "$root/tests/bench/bench.py"
    fi
    round=$((round + 1))
done
if [ -n "$csv" ]; then
    { echo round,system,work,figure,unit; cat "$build/all.csv"; } >"$csv"
fi
echo "$(nproc) CPUs, load $load before, $rounds rounds (figures mean little when others use the CPUs)"
awk -f "$root/tests/bench/table.awk" "$build/all.csv"
