# As the system's own tools say.
out=$("$1") || exit 1
printf '%s\n' "$out" | grep -q "^CPUs of the machine: $(getconf _NPROCESSORS_ONLN)\$"
