#!/bin/sh
# Checks that supervise ends as its program does, and that nothing of a failed or crashed program goes on running.
# Usage: check_supervise.sh SUPERVISE
set -u
note=$(mktemp)
trap 'rm -f "$note" "$note.killed"' EXIT
bad=0

# try COMMAND STATUS LEFT: the program leaves two processes, one of which is a grandchild in a session of its own.
try() {
    "$1" sh -c 'sleep 300 >&2 & echo $! >"$0"; (setsid sleep 300 >&2 & echo $! >>"$0"); '"$2" "$note" 2>/dev/null
    status=$?
    left=0
    for pid in $(cat "$note"); do
        # A killed process may remain for a moment, as a zombie.
        if kill -0 "$pid" 2>/dev/null && ! grep -q '^[0-9]* ([^)]*) [ZX]' "/proc/$pid/stat" 2>/dev/null; then
            left=$((left + 1))
            kill -KILL "$pid"
        fi
    done
    if [ "$status" != "$3" ] || [ "$left" != "$4" ]; then
        echo "$2: status $status instead of $3, left $left instead of $4"
        bad=1
    fi
}

try "$1" 'exit 0' 0 2
try "$1" 'exit 1' 1 0
try "$1" 'exit 77' 77 0
try "$1" 'kill -KILL $$' 137 0
try "$1" 'kill -SEGV $$' 139 0
try "$1" 'kill -TERM $PPID; sleep 300' 143 0
# The process that runs supervise is killed: then supervise and the program end as well.
setsid sh -c '"$0" sh -c "echo \$\$ >\"\$0\"; exec sleep 300" "$1" & while ! [ -s "$1" ]; do sleep 0.1; done; kill -KILL $$' \
    "$1" "$note.killed" 2>/dev/null
pid=$(cat "$note.killed")
i=0
while kill -0 "$pid" 2>/dev/null && [ $i -lt 50 ]; do
    sleep 0.1
    i=$((i + 1))
done
[ $i -lt 50 ] || { echo "goes on without ctest"; kill -KILL "$pid"; bad=1; }
[ "$("$1" /nonexistent 2>/dev/null; echo $?)" = 127 ] || bad=1
exit $bad
