"""Run by gdb for check_gdb.sh: compares what is shown of gdb_program.c with what should be, then damages the memory."""

import os
import re

import gdb

# Commands, and what they show: (mp N) for each handle's address, N for pids, sizes and offsets.
LIST = "list of 19 [0, 1, 2, 4, 5, 6, 7, 8, ...]"
DICT = (
    r'dict of 8 {"count": -5, "real": 2.5, "yes": true, "nothing": none, '
    r'"a key of more than sixteen bytes": "a \"long\" text\u000a", '
    f'"x": "{"x" * 60}"..., "list": {LIST}, "dict": dict of 0 {{}}}}'
)
POOL = "pool, open, supervisor N, workers: 1 working, tasks: 1 queued, 1 running, N done"
EXPECTED = {
    "print dict": f"(mp N) {DICT}",
    "print list": f"(mp N) {LIST}",
    "print empty": "(mp N) dict of 0 {}",
    "print lock": "(mp N) lock, free",
    "print held": "(mp N) lock, held by thread N",
    "print left": "(mp N) lock, free, last holder died",
    "print manager": '(mp N) manager, N of N bytes used, limit N, root dict of 1 {"root": 1}',
    "print value": r"""{none, false, -9223372036854775808, 0.1, "text", b'\x00\x01', dict of 0 {}, """ + LIST + "}",
    "print broken": "<invalid>",
    "print strange": "<invalid>",
    "print garbage": "(mp N) <invalid>",
    "print null": "NULL",
    "print ended": "(mp N) <free>",
    "print wrong": "(mp N) <invalid>",
    "print pool": f"(mp N) {POOL}",
    "print done": "(mp N) done: work(), status 0",
    "print failed": "(mp N) done: work(), status 7",
    "print map": "(mp N) map of work() over 4 items, chunks: N done",
    "print running": "(mp N) running by worker 0: last()",
    "print queued": "(mp N) queued: work()",
    "print pool->shared.worker[0]": "pid N, working, task at N",
    "print *$object": DICT,
    "print *$entry": '"count": -5',
    "print $entry->value": "-5",
    "print $entry[6]": '"list": ' + LIST,
    "print $entry[6].value": LIST,
    "print $entry[8]": "none",
    "mp-ref dict 0": "nothing",
    "mp-ref dict 0x7fffffff1": "<invalid>",
    "mp-ref dict $object->root[0]": "table, 1 items at N",
    "mp-ref dict $segment|4": "entries, 8 items at N",
    "mp-ref list $object->self|1": DICT,
    "mp-ref manager $object->self|1": DICT,
    "mp-pool dict": "<invalid>",
    "mp-pool pool": f"{POOL}; worker 0: pid N, working, task at N; task 0: done: work(), status 0; "
    "task 1: done: work(), status 7; task N: running by worker 0: last(); task N: queued: work()",
}
DAMAGE = (0, 0x7FF8, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFF0, 0x5555555555555555)


def shown(command):
    text = gdb.execute(command, to_string=True).strip().replace("\n", "; ")
    text = re.sub(r"^\$\d+ = ", "", text)
    text = re.sub(r"\(mp 0x[0-9a-f]+\)", "(mp N)", text)
    text = re.sub(r"\b(pid|supervisor|thread|limit|at|manager,) (0x[0-9a-f]+|\d+)", r"\1 N", text)
    # The task that has helped with the map is freed when the next one is made, or later.
    text = re.sub(r"; task \d: done: helps with a map, status 0", "", text)
    text = re.sub(r"task \d: (running|queued)", r"task N: \1", text)
    return re.sub(r"of \d+ bytes", "of N bytes", re.sub(r"\d done$|\d done;", lambda m: "N" + m[0][1:], text))


def damage(address, count, commands):
    """Runs the commands with each of so many words replaced by each kind of nonsense."""
    inferior = gdb.selected_inferior()
    for place in range(address, address + 8 * count, 8):
        old = bytes(inferior.read_memory(place, 8))
        for nonsense in DAMAGE:
            inferior.write_memory(place, nonsense.to_bytes(8, "little"))
            for command in commands:
                gdb.execute(command, to_string=True)
        inferior.write_memory(place, old)


def address_of(expression):
    return int(gdb.parse_and_eval(expression))


def main():
    for command in ("pagination off", "confirm off", "width 0", "disable-randomization off", "print pretty off"):
        gdb.execute("set " + command)
    gdb.execute(f"source {os.environ['ROOT']}/src/gdb/libmp.py")
    gdb.execute("break stop_here")
    gdb.execute("run")
    gdb.execute("up")
    try:
        gdb.lookup_type("struct object")
    except gdb.error:
        print("skipped: the library has no debug information")
        return
    # Addresses in the heap: the dict's object and its first entry.
    gdb.execute("set $object = (struct object *)((unsigned long)dict & ~0xffff00000000003f)")
    gdb.execute("set $base = (char *)manager")
    gdb.execute("set $segment = *(unsigned long *)($base + ($object->root[0] & ~15) + 8) & ~15")
    gdb.execute("set $entry = (struct entry *)($base + $segment + 16)")
    wrong = 0
    for command, expected in EXPECTED.items():
        text = shown(command)
        if text != expected:
            wrong += 1
            print(f"{command}\n  shows {text}\n  not   {expected}")
    damage(address_of("$object"), 36, ("print dict",))
    damage(address_of("$base"), 14, ("print dict", "print manager", "print *$entry"))
    damage(address_of("$base + ($object->root[0] & ~15)"), 2, ("print dict",))
    damage(address_of("$base + $segment"), 20, ("print dict", "print *$entry"))
    damage(address_of("&pool->shared"), 14, ("mp-pool pool",))
    damage(address_of("&pool->shared.segment"), 2, ("mp-pool pool",))
    damage(address_of("pool->shared.worker"), 9, ("mp-pool pool",))
    damage(address_of("map->job"), 6, ("print map",))
    for command in ("print dict", "print pool"):
        if shown(command) != EXPECTED[command]:
            wrong += 1
            print(f"{command} shows something else after the damage is mended")
    if wrong == 0:
        print(f"shown: {len(EXPECTED)} things as they should be")


try:
    main()
finally:
    gdb.execute("kill")
