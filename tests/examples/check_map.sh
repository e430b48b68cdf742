expected=$(i=0; while [ $i -lt 100 ]; do printf '%s%d' "$([ $i -eq 0 ] || echo ', ')" $((i * i)); i=$((i + 1)); done)
[ "$("$1")" = "[$expected]" ]
