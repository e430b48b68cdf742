# The count reaches 0 with the lock, both ways, and with the atomic add.
out=$("$1") || exit 1
[ "$(printf '%s\n' "$out" | grep -c '^{"count": 0}$')" -eq 3 ] && printf '%s\n' "$out" | grep -q '^100 elements$'
