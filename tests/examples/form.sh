# Sourced by the checks. check_form PROGRAM runs an example, and its Python original if there is one and Python is
# installed. It compares what each prints with "$expected", after both have gone through form(). form() replaces what
# differs from run to run.

here=$(cd "$(dirname "$0")" && pwd)

# Replaces pids after a colon, and times.
form() {
    sed -E 's/^([0-9]+):[0-9]+$/\1:PID/; s/[0-9]+\.[0-9]+ s$/TIME/'
}

# Sorts the first COUNT lines, NUM:PID, by their numbers: tasks end in any order.
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
    # The original runs first, so that $output is the example's afterwards.
    original=$here/original/$(basename "$1").py
    if [ -f "$original" ] && command -v python3 >/dev/null 2>&1; then
        # Buffered output: each line arrives in one piece, although processes print at the same time.
        compare env -u PYTHONUNBUFFERED python3 "$original" || return 1
    fi
    compare "$1"
}
