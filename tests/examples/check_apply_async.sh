. "$(dirname "$0")/form.sh"
plain_form() { sed -E 's/:[0-9]+$/:PID/; s/^\{[0-9]+(, [0-9]+)*\} [0-9]+$/{PIDS} SIZE/'; }
form() { plain_form | sort_first 20; }
expected=$(i=0; while [ $i -lt 20 ]; do echo "$i:PID"; i=$((i + 1)); done; echo "{PIDS} SIZE"; echo finish)
check_form "$1" || exit 1
# The set holds the pids that the tasks have printed, and its size is the number printed after it.
printed=$(head -n 20 "$output" | cut -d : -f 2 | sort -nu)
[ "$(sed -n '21s/^{\(.*\)}.*/\1/p' "$output" | tr -d ' ' | tr , '\n' | sort -n)" = "$printed" ] &&
    [ "$(sed -n '21s/.*} //p' "$output")" -eq "$(printf '%s\n' "$printed" | wc -l)" ]
