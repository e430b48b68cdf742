#!/bin/sh
# Builds libmp and runs the whole tutorial, on a fresh machine too.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/need.sh"
need gcc gcc
need '/usr/include/stdio.h' libc6-dev
need make make
need cmake cmake
install_missing

build=${BUILD:-$root/build/examples}
cmake -S "$root" -B "$build" -DMP_EXAMPLES=ON >/dev/null
cmake --build "$build" -j "$(nproc)" >/dev/null

run() {
    printf '\n==== %s\n' "$1"
    "$build/examples/$2"
}

run "Manager: a dict and a lock shared by 100 processes" manager
run "cpu_count" cpu_count
run "A pool against a process for each task" pool_vs_process
run "One, two and four people at few jobs and at many" pool_sizes
run "Pool: apply" apply
run "Pool: apply_async and get" apply_async
run "Pool: map" map
run "Pool: close and join" close
run "Who waits for whom at the end" exit
printf '\n== Beyond the tutorial\n'
run "The lock forgotten, and how to do without one" without_lock
run "Which size of pool for which work" waits_and_computes
printf '\n==== A real job: the words of this repository, the ten most frequent\n'
"$build/examples/word_count" "$root" >"$build/words"
head -n 10 "$build/words"
