#!/bin/sh
# Fails if BEHAVIOURS.md names a test that does not exist, and names it; or if its numbers are not 1, 2, 3 and so on.
set -eu
tests=$(cd "$(dirname "$0")/.." && pwd)

# A line "PROGRAM TEST" for each test, from entries "- PROGRAM[, PROGRAM]: TEST, TEST" that may continue in the next
# lines.
named() {
    awk '/^ *- [a-z_, ]+:/ { entry = $0; open = 1; print ""; printf "%s", entry; next }
         open && /^ +[a-z0-9_]/ { printf " %s", $0; next } { open = 0 } END { print "" }' "$tests/BEHAVIOURS.md" |
        sed -n 's/^ *- \([a-z_, ]*\): */\1:/p' | sed 's/([^)]*)//g' | while IFS=: read -r programs names; do
        for program in $(echo "$programs" | tr , ' '); do
            for name in $(echo "$names" | tr , ' '); do echo "$program $name"; done
        done
    done
}

list=$(named)
[ "$(echo "$list" | wc -l)" -gt 250 ] || { echo "BEHAVIOURS.md: its tests were not found" >&2; exit 1; }
missing=$(echo "$list" | while read -r program name; do
    files=$(ls "$tests"/*/"test_$program.c" 2>/dev/null || true)
    [ -n "$files" ] || files=$(find "$tests" -name '*.c')
    # shellcheck disable=SC2086
    grep -qw "$name" $files || echo "$program: $name"
done)
[ -z "$missing" ] || { echo "no such test:"; echo "$missing"; exit 1; } >&2

awk '/^[0-9]+\. / && $1 + 0 != ++count { print "number " $1 " stands where " count " should"; wrong = 1; exit }
     END { exit wrong || count != 91 }' "$tests/BEHAVIOURS.md" >&2
