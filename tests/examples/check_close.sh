# Twenty squares in order, then the refusal.
expected=$(i=0; while [ $i -lt 20 ]; do echo $((i * i)); i=$((i + 1)); done; echo "apply_async after close: pool is closed")
[ "$("$1")" = "$expected" ]
