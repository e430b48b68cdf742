#!/bin/sh
# What the tests have left on the machine: none of their processes, no zombie of theirs, no named object that nobody
# holds. Usage: leftovers.sh FOLDER [before]. FOLDER has the test programs. With `before`, ahead of all tests, it notes
# what is there already, be it another program's or of tests that were broken off; without, after all of them, it looks
# for what has come.
#
# Tests of another build may run at the same time, so what counts is: live processes of our own programs; zombies with
# names that the library gives or the tests have (a zombie's program cannot be seen), unless they are for the system's
# first process to reap, which in a container may do nothing of the kind; named objects that nobody has open. All three
# may be there for a moment, and are left over if they stay.
set -eu
folder=$(cd "$1" && pwd)
note=$folder/leftovers-before

processes() {
    ls -l /proc/[0-9]*/exe 2>/dev/null | grep -F -- "-> $folder/" | sed 's|.* /proc/\([0-9]*\)/exe -> |process \1 |'
    cat /proc/[0-9]*/stat 2>/dev/null | grep -E '\((mp-supervisor|PoolWorker-[0-9]+|Process-[0-9:]+|test_[a-z_]+)\) Z ' |
        grep -v ') Z 1 ' | sed 's/ Z .*//; s/^/zombie /'
}

objects() {
    for file in /dev/shm/libmp-"$(id -u)"-*; do
        # By a descriptor for reading: given a name, flock would make the file if it is gone by now.
        [ -f "$file" ] && (flock -n -x 9 && echo "object $file") 2>/dev/null 9<"$file" || true
    done
}

everything() { (processes; objects) | sort; }

if [ "${2:-}" = before ]; then
    everything >"$note"
    exit 0
fi
[ -f "$note" ] || : >"$note"

found=$(everything | grep -vFx -f "$note" || true)
i=0
while [ -n "$found" ] && [ $i -lt 20 ]; do
    sleep 0.5
    i=$((i + 1))
    now=$(everything)
    # Of what was there, what is still there.
    found=$(printf '%s\n' "$found" | while read -r line; do
        printf '%s\n' "$now" | grep -Fx -- "$line" || true
    done)
done
[ -z "$found" ] && exit 0
echo "left over:"
echo "$found"
exit 1
