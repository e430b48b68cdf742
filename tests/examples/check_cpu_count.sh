. "$(dirname "$0")/form.sh"
# The system's own tool knows as well. What the second line tells is no part of the original.
form() { head -n 1; }
expected=$(getconf _NPROCESSORS_ONLN)
check_form "$1" && [ "$(sed -n 2p "$output" | sed 's/[0-9][0-9]*$/N/')" = "this program may use N" ]
