#!/bin/sh
# Fails if a file is in no map, or a map names a file that does not exist, and names the files. The maps are the tables
# of README.md and tests/README.md. A file is in a map if a row's first cell names it; for some folders it is enough
# that the cell names the folder.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Names in backticks in first cells; from the README only those of its maps.
{
    sed -n '/^## The map of the source/,/^## Benchmarks/p' "$root/README.md"
    sed -n '/^## The map/,$p' "$root/tests/README.md"
} | grep '^|' | cut -d'|' -f2 | grep -o '`[^`]*`' | tr -d '`' | sort -u >"$work/named"
[ "$(wc -l <"$work/named")" -gt 150 ] || { echo "the maps were not found" >&2; exit 1; }

cd "$root"
find src examples tests -type f ! -name '*~' ! -path '*/__pycache__/*' ! -name CMakeLists.txt | sort >"$work/files"
while read -r file; do
    name=${file##*/}
    case $file in
    tests/README.md) continue ;;
    tests/bench/peers/* | tests/bench/charts/* | tests/fuzz/found/* | tests/examples/original/*)
        folder=${file%/*}
        name=${folder##*/}/ ;;
    esac
    grep -qxF "$name" "$work/named" || echo "in no map: $file"
done <"$work/files" >"$work/wrong"
while read -r name; do
    case $name in
    */ | *\** | CMakeLists.txt) ;;
    *) grep -q "/$name\$" "$work/files" || echo "no such file: $name" ;;
    esac
done <"$work/named" >>"$work/wrong"
[ ! -s "$work/wrong" ] || { cat "$work/wrong" >&2; exit 1; }
