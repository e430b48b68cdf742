#!/bin/sh
# Builds libmp and its benchmarks and runs them, also on a fresh machine. Prints one table.
#     sh tests/bench/run.sh [--peers] [--sweep] [--report] [--quick] [--rounds N] [--csv FILE] [WORD]
# - --peers: also builds and runs other systems on the same work, and installs missing ones (peers/peers.sh). A system
#   that cannot be installed, built or run is reported and left out.
# - --sweep: also varies entries, processes, workers, lengths of tasks and sizes of arguments: figures for charts.
# - --report: writes RESULTS.md here with charts/*.svg and results.csv, and installs gnuplot; REPORT names another
#   folder for them.
# - --quick: takes seconds. It shows that everything runs; its figures mean little.
# - --rounds: number of rounds to take the medians of (3).
# - --csv: also writes every single figure to a file, as lines `round,system,work,figure,unit`.
# - WORD: only works whose name contains it.
#
# BUILD names another build folder, CMAKE_FLAGS adds configuration flags, PYTHON names another python3.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/tests/need.sh"
. "$root/tests/bench/peers/peers.sh"

arguments=$*
peers= sweep= report= quick= rounds= csv= word=
while [ $# -gt 0 ]; do
    case $1 in
    --peers) peers=yes ;;
    --sweep) sweep=yes ;;
    --report) report=${REPORT:-$root/tests/bench} ;;
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

need gcc gcc
need '/usr/include/stdio.h' libc6-dev
need make make
need cmake cmake
[ -z "$report" ] || need gnuplot gnuplot-nox
install_missing
missing=
[ -z "$peers" ] || install_peers

build=${BUILD:-$root/build/bench}
# shellcheck disable=SC2086
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="-O2 -DNDEBUG" -DMP_BENCHMARKS=ON \
    ${CMAKE_FLAGS:-} >/dev/null
cmake --build "$build" -j "$(nproc)" >/dev/null
left_out=
if [ -n "$peers" ]; then build_peers; else rm -rf "$build/peers"; fi

python=${PYTHON:-/usr/bin/python3}
[ -x "$python" ] || python=$(command -v python3 || true)

# The folder for the files of peers, in memory. All processes started here are ended with this script, however it ends.
BENCH_FOLDER=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/mp-bench.XXXXXX")
export BENCH_FOLDER
running=
trap 'rm -rf "$BENCH_FOLDER"' EXIT
trap '[ -z "$running" ] || kill "$running" || true; exit 130' INT TERM HUP

# measure COMMAND...: one round of one program; its figures are added to the common file. A program that fails is left
# out from then on, except for libmp's: if one of those fails, the whole run stops.
measure() {
    case " $left_out " in *" $1 "*) return ;; esac
    timeout -k 5 900 "$@" $quick ${word:+"$word"} >"$build/figures" 2>"$build/errors" </dev/null &
    running=$!
    if wait "$running"; then
        sed "s/^/$round,/" "$build/figures" >>"$build/all.csv"
    else
        tail -n 3 "$build/errors" >&2
        echo "$1 failed" >&2
        case $1 in "$build"/tests/*) exit 1 ;; *) left_out="$left_out $1" ;; esac
    fi
    running=
}

# All programs, grouped by topic: bench_dict, peers/dict_absl and so on.
programs() {
    for source in "$root"/tests/bench/bench_*.c; do
        name=$(basename "$source" .c)
        echo "${name#bench_}:$build/tests/bench/$name"
    done
    for program in "$build"/peers/*; do
        [ ! -x "$program" ] || echo "${program##*/}:$program"
    done
}

load=$(cut -d ' ' -f 1 /proc/loadavg)
: >"$build/all.csv"
programs | sort | cut -d : -f 2- >"$build/programs"
round=1
while [ "$round" -le "$rounds" ]; do
    for sweeping in '' ${sweep:+--sweep}; do
        while read -r program; do
            measure "$program" $sweeping
        done <"$build/programs"
        if [ -n "$python" ]; then
            measure "$python" "$root/tests/bench/bench.py" $sweeping
        fi
    done
    round=$((round + 1))
done
if [ -n "$csv" ]; then
    { echo round,system,work,figure,unit; cat "$build/all.csv"; } >"$csv"
fi
echo "$(nproc) CPUs, load $load before, $rounds rounds (figures mean little when others use the CPUs)"
awk -f "$root/tests/bench/medians.awk" -f "$root/tests/bench/table.awk" "$build/all.csv"
if [ -n "$report" ]; then
    mkdir -p "$report"
    . "$root/tests/bench/report.sh"
fi
