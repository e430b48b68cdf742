. "$(dirname "$0")/form.sh"
# getconf gives the expected number. The second line of output is not in the Python original.
form() { head -n 1; }
expected=$(getconf _NPROCESSORS_ONLN)
check_form "$1" && [ "$(sed -n 2p "$output" | sed 's/[0-9][0-9]*$/N/')" = "this program may use N" ]
