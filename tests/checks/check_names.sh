#!/bin/sh
# Fails if src/ARCHITECTURE.md names a function that is nowhere in src/, or a file that does not exist, or says that a
# function is in a file in which it is not; or if a comment of src/ or tests/ names a file of the project that does not
# exist. Prints the names.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"

cat src/*/*.[ch] include/mp.h | grep -o '[a-z_][a-z_0-9]*' | sort -u >"$work/words"
find src tests examples include -type f | sed 's|.*/||' | sort -u >"$work/files"

# Functions and files named in backticks.
grep -o '`[^`]*`' src/ARCHITECTURE.md | grep -o '[a-z_][a-z_0-9]*()' | tr -d '()' | sort -u >"$work/functions"
[ "$(wc -l <"$work/functions")" -gt 30 ] || { echo "no names were found" >&2; exit 1; }
comm -23 "$work/functions" "$work/words" | sed 's/.*/ARCHITECTURE.md names &(), which is nowhere/' >"$work/wrong"
grep -o '`[^`]*`' src/ARCHITECTURE.md | grep -o '[a-z_/]*/[a-z_]*\.[ch]\b' | sort -u | while read -r file; do
    [ -f "src/$file" ] || [ -f "$file" ] || echo "ARCHITECTURE.md names $file, which is not there"
done >>"$work/wrong"

# A function that is said to be in a file: "`name()` in `file`", "`name()` (`file`)".
tr '\n' ' ' <src/ARCHITECTURE.md | sed 's/  */ /g' |
    grep -o '`[a-z_][a-z_0-9]*()` \(in \|(\)`[a-z_/]*\.[ch]`' | tr -d '`()' |
    sed 's/ in / /' | sort -u >"$work/places"
[ "$(wc -l <"$work/places")" -gt 10 ] || { echo "no places were found" >&2; exit 1; }
while read -r name file; do
    grep -qw "$name" "src/$file" src/*/"$file" 2>/dev/null || echo "ARCHITECTURE.md: $name() is not in $file"
done <"$work/places" >>"$work/wrong"

# Files named in comments and strings. The system's headers are included with <>.
grep -n -o '\b[a-z][a-z_0-9]*\.[ch]\b' -r src tests --include='*.[ch]' --include='*.pml' | while IFS=: read -r where line name; do
    grep -qxF "$name" "$work/files" && continue
    sed -n "${line}p" "$where" | grep -q '#include <' || echo "$where:$line names $name, which is not there"
done >>"$work/wrong"
[ ! -s "$work/wrong" ] || { cat "$work/wrong" >&2; exit 1; }
