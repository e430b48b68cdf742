#!/bin/sh
# Fails if a function on a manager's memory is called nowhere in tests/api/test_full.c, and names it. The constructors
# of values use no such memory.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)

functions=$(tr '\n' ' ' <"$root/include/mp.h" | grep -o 'MP_API [^;(]*(' | grep -v '^MP_API mp_value ' | sed 's/($//; s/.*[ *]//' |
    grep -E '^mp_(dict|list|manager|memory|value)_' | sort -u)
[ "$(echo "$functions" | wc -l)" -gt 100 ] || { echo "mp.h: its functions were not found" >&2; exit 1; }
missing=
for function in $functions; do
    grep -q "\<$function\>" "$root/tests/api/test_full.c" || missing="$missing $function"
done
[ -z "$missing" ] || { echo "not in a full heap:$missing" >&2; exit 1; }
