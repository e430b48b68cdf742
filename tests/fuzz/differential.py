"""Replays what differential --trace has done on CPython's own dict and list, and compares outcomes, order and JSON.

usage: differential.py PROGRAM [its options]
"""
import json
import struct
import subprocess
import sys

ETYPE, EKEY, EINDEX, EVALUE, EOVERFLOW, ETOOSMALL, ECHANGED = -4, -5, -6, -7, -8, -9, -11
INT64 = range(-2**63, 2**63)
ERRORS = {KeyError: EKEY, IndexError: EINDEX, ValueError: EVALUE, TypeError: ETYPE, OverflowError: EOVERFLOW}
DICTS = 4
containers = []


class Refused(Exception):
    """What Python has no exception for."""


def decode(word):
    kind, rest = word[0], word[1:]
    if kind == "n":
        return None
    if kind in "TF":
        return kind == "T"
    if kind == "i":
        return int(rest)
    if kind == "f":
        return struct.unpack(">d", bytes.fromhex(rest))[0]
    if kind in "sy":
        data = bytes.fromhex(rest)
        return data.decode() if kind == "s" else data
    return containers[int(rest)]


def encode(value):
    if value is None:
        return "n "
    if isinstance(value, bool):
        return "T " if value else "F "
    if isinstance(value, int):
        return f"i{value} "
    if isinstance(value, float):
        return f"f{struct.pack('>d', value).hex()} "
    if isinstance(value, str):
        return f"s{value.encode().hex()} "
    if isinstance(value, bytes):
        return f"y{value.hex()} "
    return f"c{[value is other for other in containers].index(True)} "


def encode_all(values):
    return "".join(map(encode, values))


def encode_items(d):
    return "".join(encode(key) + encode(value) for key, value in d.items())


def same(a, b):
    """== without looking into containers."""
    if isinstance(a, (dict, list)) or isinstance(b, (dict, list)):
        return a is b
    return a == b


def kind(value):
    kinds = (type(None), bool, int, float, str, bytes, (dict, list))
    return next(i for i, types in enumerate(kinds) if isinstance(value, types))


def attempt(function):
    """The error code, and the value where there is one."""
    try:
        return "0 ", function()
    except Refused as refusal:
        return f"{refusal.args[0]} ", None
    except tuple(ERRORS) as error:
        return f"{ERRORS[type(error)]} ", None


def with_value(function):
    code, value = attempt(function)
    return code + (encode(value) if code == "0 " else "")


def only_code(function):
    return attempt(function)[0]


def swap(container, key, old, new):
    if not same(container[key], old):
        raise Refused(ECHANGED)
    container[key] = new


def add(container, key, delta, start):
    now = container[key] if start is None or key in container else start
    if type(now) is not int:
        raise TypeError
    if now + delta not in INT64:
        raise OverflowError
    container[key] = now + delta
    return now + delta


def code_and_number(function):
    code, value = attempt(function)
    return code + f"{value or 0} "


# ---- dicts ----

def move(d, old, new):
    d[new] = d.pop(old)


def apply(d, key, value):
    if value is None:
        raise Refused(7)
    d[key] = value


def short(d, key):
    missing = EKEY if key not in d else ETYPE
    value = d.get(key)
    integer = type(value) is int
    real = integer or type(value) is float
    text = f"0 {value} " if integer else f"{missing} 0 "
    text += f"{0 if real else missing} " + encode(float(value) if real else 0.0)
    if isinstance(value, str):
        size = len(value.encode())
        return text + f"{0 if size < 20 else ETOOSMALL} {size} "
    return text + f"{missing} 0 "


def popitem(d):
    code, pair = attempt(d.popitem)
    return code + (encode_all(pair) if pair else "")


DICT = {
    "set": lambda d, k, v: only_code(lambda: d.__setitem__(k, v)),
    "get": lambda d, k: with_value(lambda: d[k]),
    "getdefault": lambda d, k, v: with_value(lambda: d.get(k, v)),
    "setdefault": lambda d, k, v: with_value(lambda: d.setdefault(k, v)),
    "pop": lambda d, k: with_value(lambda: d.pop(k)),
    "popdefault": lambda d, k, v: with_value(lambda: d.pop(k, v)),
    "remove": lambda d, k: only_code(lambda: d.__delitem__(k)),
    "contains": lambda d, k: f"0 {int(k in d)} ",
    "add": lambda d, k, delta: code_and_number(lambda: add(d, k, delta, 0)),
    "cas": lambda d, k, old, new: only_code(lambda: swap(d, k, old, new)),
    "move": lambda d, old, new: only_code(lambda: move(d, old, new)),
    "apply": lambda d, k, v: only_code(lambda: apply(d, k, v)),
    "short": short,
    "popitem": popitem,
    "len": lambda d: f"0 {len(d)} ",
    "clear": lambda d: only_code(d.clear),
    "copy": lambda d: "0 " + encode_items(d.copy()) + "0 1 ",
    "update": lambda d, other: only_code(lambda: d.update(other)),
    "keys": lambda d: "0 " + encode_all(d.keys()),
    "values": lambda d: "0 " + encode_all(d.values()),
    "items": lambda d: "0 " + encode_items(d),
}


# ---- lists ----

def search(l, value):
    index = code_and_number(lambda: l.index(value))
    return index + f"0 {l.count(value)} 0 {int(value in l)} "


def cut(l, start, stop, step):
    code, part = attempt(lambda: l[start:stop:step])
    return code + encode_all(part or [])


def replace(l, start, stop, step, other):
    l[start:stop:step] = list(other)


LIST = {
    "append": lambda l, v: only_code(lambda: l.append(v)),
    "insert": lambda l, i, v: only_code(lambda: l.insert(i, v)),
    "get": lambda l, i: with_value(lambda: l[i]),
    "set": lambda l, i, v: only_code(lambda: l.__setitem__(i, v)),
    "cas": lambda l, i, old, new: only_code(lambda: swap(l, i, old, new)),
    "add": lambda l, i, delta: code_and_number(lambda: add(l, i, delta, None)),
    "pop": lambda l, i: with_value(lambda: l.pop(i)),
    "delete": lambda l, i: only_code(lambda: l.__delitem__(i)),
    "remove": lambda l, v: only_code(lambda: l.remove(v)),
    "search": search,
    "len": lambda l: f"0 {len(l)} ",
    "clear": lambda l: only_code(l.clear),
    "extend": lambda l, other: only_code(lambda: l.extend(other)),
    "extendvalues": lambda l, *values: only_code(lambda: l.extend(values)),
    "reverse": lambda l: only_code(l.reverse),
    "slice": cut,
    "deleteslice": lambda l, *bounds: only_code(lambda: l.__delitem__(slice(*bounds))),
    "setslice": lambda l, start, stop, step, other: only_code(lambda: replace(l, start, stop, step, other)),
    "copy": lambda l: "0 0 1 " + encode_all(l.copy()),
    "concat": lambda l, other: "0 " + encode_all(l + other),
    "repeat": lambda l, times: "0 " + encode_all(l * times),
    "sorttype": lambda l, down: only_code(lambda: l.sort(key=kind, reverse=down)),
}


# ---- JSON ----

class Pairs(list):
    """A JSON object, whose keys may repeat: 1 and "1" are two keys of a dict."""


def key_matches(key, text):
    if isinstance(key, str):
        return text == key
    if isinstance(key, bytes):
        return text == key.decode("latin-1")
    return matches(key, json.loads(text))


def matches(value, parsed):
    if isinstance(value, dict):
        return isinstance(parsed, Pairs) and len(value) == len(parsed) and all(
            key_matches(key, pair[0]) and matches(value[key], pair[1]) for key, pair in zip(value, parsed))
    if isinstance(value, list):
        return type(parsed) is list and len(value) == len(parsed) and all(map(matches, value, parsed))
    if isinstance(value, bytes):
        return parsed == value.decode("latin-1")
    return type(value) is type(parsed) and repr(value) == repr(parsed)


# ---- replaying ----

def outcome(line):
    """What CPython makes of a line, to be compared with what the library has."""
    words = line["op"].split()
    container = containers[line["c"]]
    if words[0] == "dump":
        return encode_items(container) if isinstance(container, dict) else encode_all(container)
    arguments = [containers[int(word)] if word.isdigit() else decode(word) for word in words[1:]]
    return (DICT if isinstance(container, dict) else LIST)[words[0]](container, *arguments)


def main():
    program = subprocess.Popen([sys.argv[1], "--trace", *sys.argv[2:]], stdout=subprocess.PIPE, encoding="utf-8")
    seed, count = None, 0
    for text in program.stdout:
        line = json.loads(text, object_pairs_hook=Pairs)
        line = dict(line)
        count += 1
        if line["op"] == "new":
            seed = line["seed"]
            containers[:] = [{} if i < DICTS else [] for i in range(8)]
        elif line["op"] == "json":
            if not matches(containers[line["c"]], line["json"]):
                sys.exit(f"seed {seed}: JSON of {line['c']}: {text[:2000]}\nCPython: {str(containers[line['c']])[:2000]}")
        elif outcome(line) != line["r"]:
            sys.exit(f"seed {seed}, line {count}: {text[:2000]}\nCPython: {outcome(line)[:2000]}")
    if program.wait() != 0:
        sys.exit(program.returncode)
    print(count, "lines agree")


main()
