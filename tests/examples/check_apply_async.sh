# As many pids as the size says, and finish last.
out=$("$1") || exit 1
pids=$(printf '%s\n' "$out" | sed -n '1s/[{},]/ /gp' | wc -w)
[ "$(printf '%s\n' "$out" | sed -n 2p)" -eq "$pids" ] && [ "$(printf '%s\n' "$out" | tail -n 1)" = finish ]
