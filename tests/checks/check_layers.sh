#!/bin/sh
# Usage: check_layers.sh OBJECTS. Fails if a folder of src/ uses one that comes after it, and names both. A use is an
# #include, or a function or variable that the folder's objects, which lie in OBJECTS/<folder>/, take from those of
# another. Fails as well
# - if files use each other in a circle, where name.h and name.c count as one;
# - if a function or variable that is not in mp.h is not declared in the header named after the file that defines it;
# - if a file other than sync/wait.c sleeps on a futex.
#
# Two symbols are excepted: the tables of kinds are declared in object/ and defined in manager/, because their purpose
# is to name what lies above object/.
set -eu
LAYERS="base sync heap object value list dict primitives manager process pool"
EXCEPT="object_kinds block_kinds"
objects=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for folder in "$root"/src/*/; do
    ls "$folder"*.[ch] >/dev/null 2>&1 || continue
    name=$(basename "$folder")
    case " $LAYERS " in
    *" $name "*) ;;
    *) echo "src/$name/ is no layer that is known here" ;;
    esac
done >"$work/wrong"

cd "$root/src"
ls ./*.[ch] 2>/dev/null | sed 's/^/in no folder: /' >>"$work/wrong"
# Lines "user used what" for the include lines of the files.
grep -o '^#include "[a-z_]*/[a-z_]*\.h"' */*.[ch] |
    sed 's|^\([a-z_]*\)/\([a-z_.]*\):#include "\([a-z_]*\)/\(.*\)"|\1 \3 \2:\4|' >"$work/edges"
includes=$(wc -l <"$work/edges")
[ "$includes" -gt 200 ] || { echo "only $includes includes were found" >&2; exit 1; }
# The same for files, without .c and .h.
grep -o '^#include "[a-z_]*/[a-z_]*\.h"' */*.[ch] |
    sed 's|^\([a-z_/]*\)\.[ch]:#include "\(.*\)\.h"|\1 \2|' >"$work/files"
# An include of one of the library's own files must name its folder.
for header in */*.h; do
    grep -n "^#include \"${header#*/}\"" */*.[ch] /dev/null || true
done | sed 's/^/without its folder: /' >>"$work/wrong"

grep -n '\bfutex_wait(' */*.[ch] | grep -v '^sync/wait\.c:\|^base/futex' |
    sed 's/^/sleeps on a futex, which is for sync\/wait.c: /' >>"$work/wrong"

for object in "$objects"/*/*.o; do
    folder=$(basename "$(dirname "$object")")
    [ -f "$folder/$(basename "$object" .o)" ] || continue # of a file that was removed after an earlier build
    nm "$object" | awk -v from="$folder $(basename "$object" .c.o)" '
        $(NF - 1) ~ /^[TDBRCVWG]$/ { print "defines", $NF, from }
        $(NF - 1) == "U" { print "uses", $NF, from }'
done >"$work/symbols"
awk -v except="$EXCEPT" '$1 == "defines" { folder[$2] = $3; file[$2] = $4 }
    $1 == "uses" { user[++n] = $3; symbol[n] = $2; by[n] = $4 }
    END { for (i = 1; i <= n; i++) if (symbol[i] in folder && !index(" " except " ", " " symbol[i] " "))
        print user[i], folder[symbol[i]], by[i] ".c:" symbol[i] "()", file[symbol[i]] }' "$work/symbols" >"$work/calls"
calls=$(wc -l <"$work/calls")
[ "$calls" -gt 500 ] || { echo "only $calls uses of symbols were found in $objects" >&2; exit 1; }

cat "$work/edges" "$work/calls" | awk -v layers="$LAYERS" '
    BEGIN { n = split(layers, name, " "); for (i = 1; i <= n; i++) rank[name[i]] = i }
    rank[$2] > rank[$1] { print $1 "/ uses " $2 "/, which comes after it: " $3 }' | sort -u >>"$work/wrong"
sed 's|\([^ ]*\) \([^ ]*\) \([^.]*\)[^ ]* \(.*\)|\1/\3 \2/\4|' "$work/calls" >>"$work/files"
# tsort says that there is a loop, and names its files, each in a line of its own.
awk '$1 != $2' "$work/files" | sort -u |
    tsort 2>&1 >/dev/null | sed 's/^tsort: -:.*/a circle of files:/; s/^tsort: /    /' >>"$work/wrong"
awk -v except=" $EXCEPT " '$1 == "defines" && $2 ~ /^[a-z]/ && $2 !~ /^mp_/ && !index(except, " " $2 " ") {
    print $2, $3 "/" $4 ".h" }' "$work/symbols" | while read -r symbol header; do
    grep -qw "$symbol" "$header" 2>/dev/null || echo "$symbol is not declared in $header"
done >>"$work/wrong"
[ ! -s "$work/wrong" ] || { cat "$work/wrong" >&2; exit 1; }
echo "$includes includes and $calls uses of symbols, all of the same folder or of one before"
