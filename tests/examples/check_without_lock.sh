# The count reaches 0 with acquire and release, and with the atomic add. Without a lock it does not.
out=$("$1") || exit 1
[ "$(printf '%s\n' "$out" | grep -c '^{"count": 0}$')" -eq 2 ] && printf '%s\n' "$out" | grep -q '^100 elements$' &&
    printf '%s\n' "$out" | grep -q '^wrong: [1-9][0-9]* of 100 steps were lost'
