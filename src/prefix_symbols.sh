#!/bin/sh
# Usage: prefix_symbols.sh NM OBJCOPY RANLIB LIBRARY. A static library has no symbols that only its own files see: what
# one of them takes from another is global, and a program's function of the same name would clash with it, or take its
# place unnoticed. So each that does not begin with mp_ is renamed here: it gets mp_internal_ before its name. Symbols
# that begin with _ or DW. are the compiler's.
set -eu
nm=$1 objcopy=$2 ranlib=$3 library=$4
names=$(mktemp)
trap 'rm -f "$names"' EXIT

"$nm" -g "$library" | awk 'NF == 3 && $2 ~ /^[A-TV-Z]$/ && $3 !~ /^(mp_|_|DW\.)/ { print $3, "mp_internal_" $3 }' |
    sort -u >"$names"
"$objcopy" --redefine-syms="$names" "$library"
"$ranlib" "$library"
