#!/bin/sh
# Fails if a public function is called in no tests/api/test_bad_*.c, and names it.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# These functions take no argument that could be bad.
cannot_fail='mp_version mp_cpu_count mp_usable_cpu_count mp_value_none mp_value_bool mp_value_float mp_process_parent'

functions=$(tr '\n' ' ' <"$root/include/mp.h" | grep -o 'MP_API [^;(]*(' | grep -v 'MP_API __attribute__' |
    sed 's/($//; s/.*[ *]//' | sort -u)
[ "$(echo "$functions" | wc -l)" -gt 150 ] || { echo "mp.h: its functions were not found" >&2; exit 1; }
missing=
for function in $functions; do
    case " $cannot_fail " in *" $function "*) continue ;; esac
    grep -q "\<$function(" "$root"/tests/api/test_bad_*.c || missing="$missing $function"
done
[ -z "$missing" ] || { echo "no test of bad input:$missing" >&2; exit 1; }
