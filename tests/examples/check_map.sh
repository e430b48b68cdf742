. "$(dirname "$0")/form.sh"
squares=$(i=0; while [ $i -lt 100 ]; do printf '%s%d' "$([ $i -eq 0 ] || echo ', ')" $((i * i)); i=$((i + 1)); done)
expected=$(echo "[$squares]"; echo 123455)
check_form "$1"
