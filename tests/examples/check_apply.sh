. "$(dirname "$0")/form.sh"
expected=$(i=0; while [ $i -lt 20 ]; do echo "$i:PID"; echo "--> $i"; i=$((i + 1)); done; echo finish)
check_form "$1"
