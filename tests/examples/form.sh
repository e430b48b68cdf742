# Sourced by the checks: check_form PROGRAM runs an example, and the Python original of that name where there is Python,
# and compares what each prints with "$expected", after both have gone through form(). form() replaces what differs from
# run to run.

here=$(cd "$(dirname "$0")" && pwd)

# Pids after a colon, and times.
form() {
    sed -E 's/^([0-9]+):[0-9]+$/\1:PID/; s/[0-9]+\.[0-9]+ s$/TIME/'
}

# Puts the first COUNT lines, NUM:PID, in the order of their numbers: tasks end in any order.
sort_first() {
    awk -v count="$1" '{ print NR <= count ? $0 + 0 : 1000 + NR, $0 }' | sort -n -k 1,1 | cut -d ' ' -f 2-
}

compare() {
    "$@" >"$output" || { echo "failed: $*" >&2; return 1; }
    form <"$output" | diff -u "$expected_form" - >&2 || { echo "this is printed by: $*" >&2; return 1; }
}

check_form() {
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    output=$folder/output
    expected_form=$folder/expected
    printf '%s\n' "$expected" >"$expected_form"
    # The original first, so that $output is the example's afterwards.
    original=$here/original/$(basename "$1").py
    if [ -f "$original" ] && command -v python3 >/dev/null 2>&1; then
        # Each line in one piece, though processes print at the same time.
        compare env -u PYTHONUNBUFFERED python3 "$original" || return 1
    fi
    compare "$1"
}
