#!/bin/sh
# check_readme.sh LIBRARY COMPILER [FLAG...]: checks what can be checked in the README. Each C program in it compiles
# without a warning, exits with 0, and prints what stands below it. Each public function is named. Each test that it
# names exists.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
library=$1 compiler=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
readme=$root/README.md
failed=0

fail() {
    echo "README.md: $*" >&2
    failed=1
}

# ---- programs: program-N.c, and program-N.text if a block of text follows ----

awk -v work="$work" '
    /^```/ && file != "" { close(file); file = ""; next }
    /^```c$/ { count++; file = work "/program-" count ".c"; next }
    /^```text$/ { file = work "/program-" count ".text"; next }
    /^```/ { file = "/dev/null"; next }
    file != "" { print > file }' "$readme"
[ -f "$work/program-1.c" ] || fail "no programs found"
for source in "$work"/program-*.c; do
    program=${source%.c}
    if ! "$compiler" -Wall -Wextra -Werror -I"$root/include" "$source" "$library" -pthread -lm "$@" -o "$program"; then
        fail "does not compile: $(sed -n '/^static/{p;q;}' "$source")"
        continue
    fi
    timeout 60 "$program" >"$program.output" || fail "ends with $?: $(sed -n '/^static/{p;q;}' "$source")"
    echo >>"$program.output"
    [ -f "$program.text" ] || { fail "a program without what it prints: $(sed -n '/^static/{p;q;}' "$source")"; continue; }
    # An empty line at the end does not matter.
    sed -e '/^$/d' "$program.output" | diff - "$program.text" >&2 || fail "prints something else"
done

# ---- functions: named in full, or as `_suffix` after the name of a related one ----

sed -n 's/^MP_API .*[ *]\(mp_[a-z_]*\)(.*/\1/p' "$root/include/mp.h" | grep -v '^mp_lock_guard_' >"$work/functions"
[ "$(wc -l <"$work/functions")" -gt 150 ] || fail "the functions of mp.h were not found"
awk 'NR == FNR { readme = readme $0 "\n"; next }
     {
         suffix = short = $0
         sub(/^mp_[a-z]*/, "", suffix)
         sub(/.*_/, "_", short)
         if (readme !~ "[`(]" $0 "[^a-z_]" && !index(readme, "`" suffix "`") && !index(readme, "`" short "`"))
             print $0
     }' "$readme" "$work/functions" >"$work/unnamed"
[ ! -s "$work/unnamed" ] || fail "does not name $(tr '\n' ' ' <"$work/unnamed")"

# ---- tests: `test_topic`, and the names after a colon behind it ----

grep -o '`test_[a-z_]*`\(: [a-z0-9_, ]*\)\{0,1\}' "$readme" | tr -d '` ' | while IFS=: read -r program parts; do
    file=$(ls "$root"/tests/*/"$program.c" 2>/dev/null || true)
    [ -f "$file" ] || { echo "no $program"; continue; }
    for part in $(echo "$parts" | tr , ' '); do grep -qw "$part" "$file" || echo "no $part in $program"; done
done >"$work/missing"
[ ! -s "$work/missing" ] || fail "names tests that are not there: $(cat "$work/missing")"
exit $failed
