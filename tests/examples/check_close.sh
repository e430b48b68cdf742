. "$(dirname "$0")/form.sh"
# Python prints another message.
form() { sed -E 's/:[0-9]+$/:PID/; s/^Pool not running$/pool is closed/' | sort_first 20; }
expected=$(
    i=0; while [ $i -lt 20 ]; do echo "$i:PID"; i=$((i + 1)); done
    i=0; while [ $i -lt 20 ]; do echo $((i * i)); i=$((i + 1)); done
    echo finish
    echo "pool is closed"
)
check_form "$1"
