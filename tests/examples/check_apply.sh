# num:pid and the result of each, in order, and finish last.
expected=$(i=0; while [ $i -lt 20 ]; do echo "$i:pid"; echo "result $((i * i))"; i=$((i + 1)); done; echo finish)
[ "$("$1" | sed 's/:[0-9]*$/:pid/')" = "$expected" ]
