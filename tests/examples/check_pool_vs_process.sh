"$1" | grep -q '^the pool took 1/[0-9.]* of the time$'
