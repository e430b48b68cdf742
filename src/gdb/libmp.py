"""gdb pretty-printers for libmp: shared containers, locks, values and pools, as text.

    (gdb) source src/gdb/libmp.py
    (gdb) print dict                 a handle: mp_dict *, mp_list *, mp_lock *, mp_manager *, mp_pool *, mp_result *
    (gdb) print value                an mp_value; in the library also struct cell, entry, object, task, chunk, worker
    (gdb) mp-ref dict 0x1234         what a ref leads to: a word in the heap of that handle (see src/object/ref.h)
    (gdb) mp-pool pool               all workers of a pool, and all tasks that are not free, line by line

print/r shows what gdb itself would. The library must have been built with debug information (-g). The printers call
nothing in the program, and take no mutex: they read memory, which may be in the midst of a change ("changing") or
damaged. What makes no sense is shown as <invalid>. Heaps are not part of core files (heap_file.c): there, handles are
<invalid> too.
"""

import functools
import itertools

import gdb

INVALID = "<invalid>"
SHOWN = 8  # entries, elements, tasks and workers in a line
TEXT_SHOWN = 60  # bytes of a string
DEEPEST = 2  # containers inside containers
LOOKED_AT = 1 << 16  # positions of a dict, slots of a pool, chunks of a map: so that damage makes nobody wait

# src/object/object.h
ENDED = {0x6D7064656400: "dead", 0x6D7073707200: "free", 0x6D7073706E00: "spent"}
TAG = 0xFFFF00000000003F
# src/object/ref.h
REF_MASK = 15
REF_OBJECT = 1
REFS = {0: "block", 1: "object", 2: "table", 5: "shallow table"}  # others are in block_kinds
# src/value/cell.h, value.h, key.h
CELL_TYPE, CELL_OWNS, CELL_LENGTH_SHIFT = 0xFF, 0x100, 16
CELL_INLINE, KEY_INLINE = 8, 16
DICT_USED, DICT_LIVE = 0, 1  # src/dict/dict_layout.h
# src/list/list_place.h
LIST_LENGTH = 1
LIST_TURN = (1 << 64) - 1
SEGMENT = 1024  # src/object/segments.h
# src/heap/heap_layout.h
HEAP_MAGIC = 0x31706D2070616568
HEAPS = {1: "manager", 2: "locks", 3: "pool"}
# src/pool/task.h, caller.h
POOL_MAGIC, RESULT_MAGIC = 0x6D705F706F6F6C31, 0x6D705F7265733131
TASK_STATES = ("free", "queued", "running", "done")
POOL_STATES = ("open", "closed", "terminated")
PHASES = ("none", "starting", "working", "leaving", "retired", "refused")
SEGMENT_FIRST, SEGMENTS, CACHE_LINE = 64, 24, 64
MOST_WORKERS = 1024
NONE, BOOL, INT, FLOAT, STR, BYTES, DICT, LIST = range(8)  # mp_type


class Invalid(Exception):
    """What was to be shown makes no sense."""


# What damaged or missing memory leads to; gdb.error is a RuntimeError.
FAULTS = (Invalid, RuntimeError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def never_failing(function):
    """The function's text; INVALID where memory cannot be read, or is not what it should be."""

    @functools.wraps(function)
    def wrapper(*arguments):
        try:
            return function(*arguments)
        except FAULTS:
            return INVALID

    return wrapper


def check(condition):
    if not condition:
        raise Invalid()


def read(address, size):
    check(0 < address < 1 << 48 and size < 1 << 24)
    return bytes(gdb.selected_inferior().read_memory(address, size)) if size else b""


def word(address):
    return int.from_bytes(read(address, 8), "little")


def structure(name, address):
    """The structure of that name at an address: a gdb.Value."""
    check(0 < address < 1 << 48)
    return gdb.Value(address).cast(gdb.lookup_type("struct " + name).pointer()).dereference()


def size_of(name):
    return gdb.lookup_type("struct " + name).sizeof


def one_of(names, number):
    return names[number] if 0 <= number < len(names) else INVALID


def shortened(items, count):
    """Texts with commas between; dots when they are fewer than `count`."""
    texts = list(itertools.islice(items, SHOWN))
    return ", ".join(texts + ["..."] if count > len(texts) else texts)


def table(name):
    """The structures in one of the library's tables of kinds, by position."""
    kinds = gdb.lookup_global_symbol(name).value()
    first, last = kinds.type.range()
    return {i: kinds[i] for i in range(first, last + 1) if int(kinds[i]) != 0}


def object_kind(number):
    """The name of a kind of object (src/object/object_kind.h)."""
    names = [kind["name"].string() for kind in table("object_kinds").values() if int(kind["kind"]) == number]
    check(names)
    return names[0]


def ref_kind(number):
    """The name of a kind of ref (src/object/ref.h)."""
    return REFS.get(number) or table("block_kinds")[number]["name"].string()


def symbol(address):
    """The function at an address."""
    if address == 0:
        return "NULL"
    text = gdb.Value(address).cast(gdb.lookup_type("void").pointer()).format_string(symbols=True)
    return text[text.index("<") + 1 : text.rindex(">")] if "<" in text else text


def code(status):
    """A status, by its name if it is one of the library's."""
    if status <= -1000:
        return f"MP_EDIED ({status})"
    enum = gdb.lookup_static_symbol("MP_EINVAL") if status < 0 else None
    names = [field.name for field in enum.type.fields() if field.enumval == status] if enum else []
    return names[0] if names else str(status)


def quoted(kind, data, size):
    """A string or bytes, of which `data` is the beginning."""
    dots = "..." if size > len(data) else ""
    if kind == BYTES:
        return repr(data) + dots
    text = data.decode("utf-8", "replace").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text) + '"' + dots


def number(kind, body):
    """A value that owns nothing, from its second word."""
    if kind == NONE:
        return "none"
    if kind == BOOL:
        check(body <= 1)
        return "true" if body else "false"
    if kind == INT:
        return str(body - (1 << 64) if body >> 63 else body)
    check(kind == FLOAT)
    return repr(gdb.Value(body.to_bytes(8, "little"), gdb.lookup_type("double")).__float__())


class Heap:
    """A heap, by its address."""

    def __init__(self, address):
        check(address % 4096 == 0 and word(address) == HEAP_MAGIC)
        self.address = address
        self.header = structure("heap", address)
        self.size = int(self.header["size"])

    def at(self, offset, size=8):
        """The address of so many bytes at an offset, which lie in the heap."""
        check(0 < offset and offset + size <= self.size)
        return self.address + offset

    def block(self, ref):
        return self.at(ref & ~REF_MASK, 16)

    def of_table(self, ref, position):
        """The ref at a position of a table of refs."""
        table = self.block(ref)
        count = word(table)
        return word(self.at(table - self.address + 8 * (1 + position))) if position < count else 0

    @never_failing
    def summary(self):
        kind = HEAPS[int(self.header["kind"])]
        held = mutex(self.header["mutex"])
        text = f"{kind}, {int(self.header['used'])} of {self.size} bytes used, limit {int(self.header['limit'])}"
        return text + ("" if held == "free" else f", mutex {held}")


def heap_around(address):
    """The open heap that an address lies in, by the library's own list (heap_file.c)."""
    found = gdb.lookup_static_symbol("heaps")
    check(found is not None)
    opened = int(found.value())
    for _ in range(1 << 16):
        if opened == 0:
            break
        entry = structure("open_heap", opened)
        if int(entry["heap"]) <= address < int(entry["heap"]) + int(entry["file"]["length"]):
            return Heap(int(entry["heap"]))
        opened = int(entry["next"])
    raise Invalid()


def mutex(value):
    """free, or who holds it, from the word that the kernel looks at: the same in all C libraries."""
    try:
        state = int(value["__data"]["__lock"])
    except gdb.error:
        state = int(value["__u"]["__i"][1])
    holder = state & 0x3FFFFFFF
    text = f"held by thread {holder}" if holder else "free"
    if state & 1 << 30:
        text = "free, last holder died"
    return text + (", awaited" if state & 1 << 31 else "")


def text_of(heap, kind, head, words, block, inline, deep):
    """A stored string, bytes object or container."""
    length = head >> CELL_LENGTH_SHIFT
    if kind in (DICT, LIST):
        return object_text(heap.address + (block & ~REF_MASK), deep + 1, length)
    check(kind in (STR, BYTES) and length < 1 << 40)
    if head & CELL_OWNS:
        return quoted(kind, read(heap.at(block & ~REF_MASK, length), min(length, TEXT_SHOWN)), length)
    check(length <= inline)
    return quoted(kind, words[:length], length)


@never_failing
def cell_text(heap, head, body, deep=0):
    """A stored value; heap None: only one that needs none."""
    kind = head & CELL_TYPE
    if kind <= FLOAT:
        return number(kind, body)
    check(heap is not None or not head & CELL_OWNS)
    return text_of(heap, kind, head, body.to_bytes(8, "little"), body, CELL_INLINE, deep)


@never_failing
def key_text(heap, head, body, rest):
    kind = head & CELL_TYPE
    if kind <= FLOAT:
        return number(kind, body)
    check(kind in (STR, BYTES))
    return text_of(heap, kind, head, body.to_bytes(8, "little") + rest.to_bytes(8, "little"), body, KEY_INLINE, 0)


def words_at(address, count):
    data = read(address, 8 * count)
    return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]


def place(heap, root, position, size):
    """The address of the item at a position of the segments (segments.h); 0: that segment is not there."""
    segment = heap.of_table(root, position // SEGMENT)
    if segment == 0:
        return 0
    check(position % SEGMENT < word(heap.block(segment)))
    return heap.at((segment & ~REF_MASK) + 16 + position % SEGMENT * size, size)


def entries(heap, root, used, deep):
    """The entries of a dict, in order."""
    for position in range(min(used, LOOKED_AT)):
        address = place(heap, root, position, size_of("entry"))
        check(address != 0)
        sequence, key_head, key_body, key_rest, head, body = words_at(address, 6)
        if sequence != 0:
            yield key_text(heap, key_head, key_body, key_rest) + ": " + cell_text(heap, head, body, deep)


def element_position(shape, at):
    """The position of the element with that index: list_beyond() in list_place.c."""
    start, length, gap, gap_size, step, left, phase = shape
    if gap == 0 or at < gap - 1:
        return start + at
    if step == LIST_TURN:
        return start + (at if at < left or at + left >= length else length - 1 - at)
    behind, removed = at - (gap - 1), 0
    if left > 0 and behind >= phase:
        removed = left if step < 2 else min(left, 1 + (behind - phase) // (step - 1))
    return start + at + gap_size + removed


def elements(heap, root, shape, deep):
    for at in range(shape[LIST_LENGTH]):
        address = place(heap, root, element_position(shape, at), 16)
        yield cell_text(heap, *words_at(address, 2), deep) if address else INVALID


def guarded(items):
    """The items, and INVALID instead of the first that cannot be read."""
    try:
        yield from items
    except FAULTS:
        yield INVALID


@never_failing
def object_text(address, deep=0, generation=None, kind=None):
    """The object at an address. `generation`, `kind`: what it should have; None: any."""
    found = structure("object", address)
    magic = int(found["magic"])
    what = magic & ~TAG
    if what in ENDED:
        return f"<{ENDED[what]}>"
    name = object_kind(what)
    check(kind is None or name == kind)
    # The generation of a stored value has 22 bits: that of src/object/object.h.
    if generation is not None and (magic >> 48 << 6 | magic & 63) != generation:
        return "<stale>"
    heap = Heap(address - int(found["self"]))
    held = mutex(found["mutex"])
    if name == "lock":
        return f"lock, {held}"
    shape = [int(found["word"][i]) for i in range(7)]
    if name == "memory":
        check(shape[0] > 0)
        return f"memory of {shape[0] - 1} bytes"
    notes = "" if held == "free" else f", mutex {held}"
    if int(found["version"]) & 1:
        notes += ", changing"
    root = int(found["root"][0])
    length = shape[DICT_LIVE] if name == "dict" else shape[LIST_LENGTH]
    if name == "dict":
        text, ends, items = f"dict of {length}", "{}", entries(heap, root, shape[DICT_USED], deep)
    elif name == "list":
        text, ends, items = f"list of {length}", "[]", elements(heap, root, shape, deep)
    else:
        return name + notes
    check(length < 1 << 48)
    if deep > DEEPEST:
        return text + notes
    shown = shortened(guarded(items), length) if length else ""
    return f"{text}{notes} {ends[0]}{shown}{ends[1]}"


def handle_text(address, kind):
    """A handle: an object's address, and its generation in the other bits."""
    if address == 0:
        return "NULL"
    return object_text(address & ~TAG, 0, address >> 48 << 6 | address & 63, kind)


@never_failing
def manager_text(address):
    if address == 0:
        return "NULL"
    heap = Heap(address)
    return f"{heap.summary()}, root {object_text(address + int(heap.header['root']), 0, None, 'dict')}"


@never_failing
def ref_text(heap, ref):
    """What a ref leads to."""
    if ref & ~REF_MASK == 0:
        return "nothing"
    kind = ref_kind(ref & REF_MASK)
    address = heap.block(ref)
    if ref & REF_MASK == REF_OBJECT:
        return object_text(address)
    if kind == "block":
        return f"{kind} at {ref & ~REF_MASK:#x}"
    return f"{kind}, {word(address)} items at {ref & ~REF_MASK:#x}"


# ---- mp_value ----


@never_failing
def value_text(value):
    kind = int(value["type"])
    content = value["as"]
    if kind == NONE:
        return "none"
    if kind == BOOL:
        return number(BOOL, int(content["boolean"].cast(gdb.lookup_type("unsigned char"))))
    if kind == INT:
        return str(int(content["integer"]))
    if kind == FLOAT:
        return repr(float(content["real"]))
    if kind in (DICT, LIST):
        return handle_text(int(content["dict"]), "dict" if kind == DICT else "list")
    check(kind in (STR, BYTES))
    size = int(value["size"])
    return quoted(kind, read(int(content["bytes"]), min(size, TEXT_SHOWN)), size)


# ---- pools ----


def state_text(state, worker=True):
    text = one_of(TASK_STATES, state & 7)
    return text + f" by worker {state >> 16}" if text == "running" and worker else text


@never_failing
def task_text(task):
    state = int(task["word"])
    text = state_text(state)
    if text == "free":
        return text
    check(text != INVALID)
    function = int(task["function"])
    text += f": {symbol(function)}()" if function else ": helps with a map"
    if state & 7 == 3:
        text += f", status {code(int(task['status']))}"
    deaths = int(task["deaths"])
    return text + (f", {deaths} workers died" if deaths else "") + (", awaited" if state & 8 else "")


@never_failing
def chunk_text(chunk):
    return f"{state_text(int(chunk['word']))}, {int(chunk['done'])} done, status {code(int(chunk['status']))}"


@never_failing
def worker_text(worker):
    phase = one_of(PHASES, int(worker["phase"]))
    pid = int(worker["pid"])
    text = f"pid {pid}, {phase}" if pid else phase
    if int(worker["asleep"]):
        text += ", asleep"
    task = int(worker["task"])
    return text + (f", task at {task:#x}" if task else "")


@never_failing
def job_text(job):
    """A map: how many of its chunks are in which state."""
    count, chunks = int(job["count"]), int(job["chunk_count"])
    check(chunks <= LOOKED_AT)
    states = [state_text(int(job["chunk"][i]["word"]), False) for i in range(chunks)]
    return f"map of {symbol(int(job['function']))}() over {count} items, chunks: {counts(states)}"


def counts(states):
    found = [(states.count(name), name) for name in (*TASK_STATES, INVALID)]
    return ", ".join(f"{count} {name}" for count, name in found if count) or "none"


def pool_tasks(pool):
    """(number, struct task) of the first slots: slots_visit() in dispatch.c."""
    heap = Heap(int(pool["heap"]))
    first = 0
    for k in range(SEGMENTS):
        block = int(pool["segment"][k])
        if block == 0 or first >= LOOKED_AT:
            return
        begin = (block + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE
        for i in range(SEGMENT_FIRST << k):
            yield first + i, structure("slot", heap.at(begin + i * size_of("slot"), size_of("slot")))["task"]
        first += SEGMENT_FIRST << k


def live_pool(address):
    pool = structure("mp_pool", address)
    check(int(pool["magic"]) == POOL_MAGIC)
    return pool


@never_failing
def pool_text(address):
    if address == 0:
        return "NULL"
    pool = live_pool(address)
    shared = pool["shared"]
    workers = int(shared["workers"])
    check(workers <= MOST_WORKERS)
    phases = [one_of(PHASES, int(shared["worker"][i]["phase"])) for i in range(workers)]
    phases = ", ".join(f"{phases.count(p)} {p}" for p in (*PHASES, INVALID) if p in phases)
    states = counts([s for s in (state_text(int(t["word"]), False) for _, t in pool_tasks(shared)) if s != "free"])
    broken = int(shared["broken"])
    return (
        f"pool, {one_of(POOL_STATES, int(shared['state']))}{', ' + code(broken) if broken else ''}, "
        f"supervisor {int(pool['supervisor'])}, workers: {phases}, tasks: {states}"
    )


@never_failing
def result_text(address):
    if address == 0:
        return "NULL"
    result = structure("mp_result", address)
    check(int(result["magic"]) == RESULT_MAGIC)
    if int(result["job"]):
        return job_text(result["job"].dereference())
    slot = gdb.lookup_type("struct slot")
    offset = next(field.bitpos // 8 for field in slot.fields() if field.name == "result")
    return task_text(structure("slot", address - offset)["task"])


# ---- what gdb calls ----


def heap_of(address):
    try:
        return heap_around(address)
    except FAULTS:
        return None


@never_failing
def cell_structure(cell):
    return cell_text(heap_of(int(cell.address or 0)), int(cell["head"]), int(cell["body"]))


@never_failing
def entry_structure(entry):
    if int(entry["sequence"]) == 0:
        return "none"
    heap, value = heap_of(int(entry.address or 0)), entry["value"]
    key = key_text(heap, *(int(entry["key"][name]) for name in ("head", "body", "rest")))
    return f"{key}: {cell_text(heap, int(value['head']), int(value['body']))}"


POINTERS = {
    "mp_dict": lambda address: handle_text(address, "dict"),
    "mp_list": lambda address: handle_text(address, "list"),
    "mp_lock": lambda address: handle_text(address, "lock"),
    "mp_manager": manager_text,
    "mp_pool": pool_text,
    "mp_result": result_text,
}
STRUCTURES = {
    "mp_value": value_text,
    "cell": cell_structure,
    "entry": entry_structure,
    "object": lambda found: object_text(int(found.address or 0)),
    "task": task_text,
    "chunk": chunk_text,
    "worker": worker_text,
    "map_job": job_text,
}


class Printer:
    def __init__(self, function, argument, prefix=""):
        self.function, self.argument, self.prefix = function, argument, prefix

    def to_string(self):
        return self.prefix + self.function(self.argument)


def lookup(value):
    """The printer for a value; None: gdb's own."""
    kind = value.type.strip_typedefs().unqualified()
    if kind.code == gdb.TYPE_CODE_PTR:
        target = kind.target().strip_typedefs().unqualified()
        if target.code == gdb.TYPE_CODE_STRUCT and target.tag in POINTERS:
            address = int(value) & (1 << 64) - 1
            return Printer(POINTERS[target.tag], address, f"(mp {address:#x}) " if address else "")
    elif kind.code == gdb.TYPE_CODE_STRUCT and kind.tag in STRUCTURES:
        return Printer(STRUCTURES[kind.tag], value)
    return None


def looked_up(value):
    try:
        return lookup(value)
    except FAULTS:
        return None


class RefCommand(gdb.Command):
    """mp-ref HANDLE WORD: what a ref leads to, in the heap of a manager, dict, list or lock."""

    def __init__(self):
        super().__init__("mp-ref", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if len(words) != 2:
            raise gdb.GdbError("Usage: mp-ref HANDLE WORD")
        print(self.text(*(int(gdb.parse_and_eval(text)) for text in words)))

    @staticmethod
    @never_failing
    def text(handle, ref):
        handle &= ~TAG
        try:
            heap = Heap(handle)
        except (Invalid, gdb.error):
            heap = Heap(handle - int(structure("object", handle)["self"]))
        return ref_text(heap, ref)


class PoolCommand(gdb.Command):
    """mp-pool POOL: all workers of a pool, and all tasks that are not free."""

    def __init__(self):
        super().__init__("mp-pool", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        address = int(gdb.parse_and_eval(argument))
        summary = pool_text(address)
        print(summary)
        if summary in ("NULL", INVALID):
            return
        for line in guarded(self.lines(address)):
            print(line)

    @staticmethod
    def lines(address):
        shared = live_pool(address)["shared"]
        for i in range(min(int(shared["workers"]), MOST_WORKERS)):
            yield f"worker {i}: {worker_text(shared['worker'][i])}"
        for i, task in pool_tasks(shared):
            if int(task["word"]) & 7:
                yield f"task {i}: {task_text(task)}"


if looked_up not in gdb.pretty_printers:
    gdb.pretty_printers.insert(0, looked_up)
    RefCommand()
    PoolCommand()
