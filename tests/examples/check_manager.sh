. "$(dirname "$0")/form.sh"
# A dict is printed as JSON.
form() { tr "'" '"'; }
expected='{"count": 0}'
check_form "$1"
