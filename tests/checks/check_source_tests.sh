#!/bin/sh
# Usage: check_source_tests.sh BUILD, where BUILD is the folder that cmake has configured. Looks at the table under
# "Which tests to run for which file" in tests/README.md, and fails, naming them,
# - when a .c file of src/ has no row, or two;
# - when a row names a file of src/ that does not exist, or no test;
# - when it names a test that does not exist, or one in the column of the quick tests that is not quick.
# Some tests exist only on some machines or in some builds. So a test exists when it is registered in BUILD, when a
# CMakeLists.txt of tests/ has its name in an add_test(), or when it is an example's.
set -eu
build=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# names COLUMN: what stands in backticks in that column of the table, each on its line.
sed -n '/^## Which tests to run for which file/,/^## A new topic/p' "$root/tests/README.md" | grep '^| `' >"$work/table" ||
    { echo "tests/README.md: the table was not found" >&2; exit 1; }
names() {
    cut -d'|' -f"$1" "$work/table" | grep -o '`[^`]*`' | tr -d '`'
}

cd "$root/src"
names 2 | sort >"$work/files"
ls ./*/*.c | sed 's|^\./||' | sort >"$work/sources"
{
    comm -23 "$work/sources" "$work/files" | sed 's|.*|src/& has no row|'
    uniq -d "$work/files" | sed 's|.*|src/& has two rows|'
    comm -13 "$work/sources" "$work/files" | uniq | while read -r file; do
        [ -f "$file" ] || echo "src/$file does not exist"
    done
    awk -F'|' '$3 !~ /`[a-z]/ || $4 !~ /`[a-z]/ { print "a row without tests:" $2 }' "$work/table"
} >"$work/wrong"

# Tests have only letters, digits and underlines in their names; operations of the killer have other characters too.
{ names 3; names 4; } | grep -x '[a-z0-9_]*' | sort -u >"$work/named"
{
    find "$build" -name CTestTestfile.cmake -exec sed -n 's/^add_test(\[*=*\[*"*\([a-z0-9_]*\).*/\1/p' {} +
    sed -n 's/.*add_test(NAME \([a-z0-9_]*\)$/\1/p; s/.*add_test(NAME \([a-z0-9_]*\) .*/\1/p' "$root"/tests/CMakeLists.txt \
        "$root"/tests/*/CMakeLists.txt
    ls "$root"/tests/examples/check_*.sh | sed 's|.*/check_|example_|; s|\.sh$||'
} | sort -u >"$work/tests"
comm -23 "$work/named" "$work/tests" | sed 's/.*/no such test: &/' >>"$work/wrong"

awk '/^set\(QUICK_TESTS/ { on = 1 } on { gsub(/set\(QUICK_TESTS|\)/, ""); print } on && /leftovers$/ { exit }' \
    "$root/tests/CMakeLists.txt" | tr ' ' '\n' | sort -u >"$work/quick"
names 3 | grep -x '[a-z0-9_]*' | sort -u | comm -23 - "$work/quick" | sed 's/.*/not a quick test: &/' >>"$work/wrong"

[ ! -s "$work/wrong" ] || { cat "$work/wrong" >&2; exit 1; }
[ "$(wc -l <"$work/sources")" -gt 50 ] && [ "$(wc -l <"$work/named")" -gt 50 ] ||
    { echo "the files or tests were not found" >&2; exit 1; }
