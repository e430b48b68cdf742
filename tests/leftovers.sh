#!/bin/sh
# Reports what the tests have left on the machine: live processes, zombies, named objects that no process has open.
# Usage: leftovers.sh FOLDER [before]. FOLDER has the test programs. With `before`, called ahead of all tests, it notes
# what is there already: leftovers of other programs, or of interrupted tests. Without it, called after all tests, it
# reports what has been added.
#
# Tests of another build may run at the same time, so these count: live processes of our own programs; zombies with
# names that the library or the tests give (the program of a zombie cannot be seen); named objects that no process has
# open. Zombies whose parent is the system's first process do not count, because in a container that may reap nothing.
# All three may be there for a moment; they are left over if they stay.
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
        # Opens a descriptor for reading. Given a name, flock would create the file again if it is gone by now.
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
    # Keeps those of the earlier findings that are still there.
    found=$(printf '%s\n' "$found" | while read -r line; do
        printf '%s\n' "$now" | grep -Fx -- "$line" || true
    done)
done
[ -z "$found" ] && exit 0
echo "left over:"
echo "$found"
exit 1
