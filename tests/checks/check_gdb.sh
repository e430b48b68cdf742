#!/bin/sh
# Usage: check_gdb.sh LIBRARY COMPILER [FLAG...]. Fails when gdb shows something else by src/gdb/libmp.py than stands in
# check_gdb.py, or a printer fails on damaged memory. Skipped (77) where there is no gdb with Python, and where the
# library has no debug information.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
library=$1 compiler=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

gdb -nx -batch -ex 'python print("yes")' 2>/dev/null | grep -q yes || { echo "skipped: no gdb with Python"; exit 77; }
"$compiler" -g -O0 -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -I"$root/include" \
    "$root/tests/checks/gdb_program.c" "$library" \
    -pthread -lm "$@" -o "$work/program"
ROOT=$root timeout -s KILL 200 \
    gdb -nx -batch -x "$root/tests/checks/check_gdb.py" "$work/program" >"$work/output" 2>&1 ||
    { cat "$work/output" >&2; exit 1; }
grep "^shown: \|^skipped: " "$work/output" || true
if grep -q '^skipped: ' "$work/output"; then
    exit 77
fi
# What gdb says of a printer that has failed.
if grep -q "Python Exception\|^Error\|Traceback" "$work/output" || ! grep -q "^shown: " "$work/output"; then
    cat "$work/output" >&2
    exit 1
fi
