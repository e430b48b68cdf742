"""The same work with Python's multiprocessing: fewer operations, figures in the same units (see bench.h)."""
import concurrent.futures
import multiprocessing
import platform
import random
import sys
import time

mp = multiprocessing.get_context("fork")
now = time.perf_counter
SYSTEM = "Python " + platform.python_version()
QUICK = "--quick" in sys.argv
SWEEPS = "--sweep" in sys.argv
WANTED = [word for word in sys.argv[1:] if not word.startswith("--")]
MEBI = b"x" * (1 << 20)


def count(full):
    return max(full // 50, 1) if QUICK else full


def wanted(work):
    return not WANTED or WANTED[0] in work


def figure(work, value, unit, system=SYSTEM):
    if wanted(work):
        print(system, work, f"{value:.4g}", unit, sep=",", flush=True)


def point(work, varied, x, value, unit, system=SYSTEM):
    print(system, f"{work}|{varied}|{x:.12g}", f"{value:.4g}", unit, sep=",", flush=True)


def bench_random(seed):
    """The numbers that bench_random() of bench.c gives."""
    x = (seed + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    x = (x ^ x >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return x ^ x >> 31


def make_keys(entries):
    """As dict_works.c makes them: in the order in which they are inserted, and in which they are reached."""
    keys = [f"{bench_random(i):016x}" for i in range(entries)]
    shuffled = keys[:]
    for i in range(entries - 1, 0, -1):
        other = bench_random(entries + i) % (i + 1)
        shuffled[i], shuffled[other] = shuffled[other], shuffled[i]
    return keys, shuffled


def fill(container, keys):
    """Many in one step, as one by one takes long."""
    for i in range(0, len(keys), 100000):
        container.update(dict.fromkeys(keys[i:i + 100000], 1))


def together(processes, work, *args):
    """Seconds from when the first of so many processes begins work(*args) until the last ends."""
    barrier = mp.Barrier(processes)
    times = mp.SimpleQueue()

    def run():
        barrier.wait()
        begin = now()
        work(*args)
        times.put((begin, now()))

    children = [mp.Process(target=run) for _ in range(processes)]
    for child in children:
        child.start()
    spans = [times.get() for _ in children]
    for child in children:
        child.join()
    return max(end for _, end in spans) - min(begin for begin, _ in spans)


def get_each(container, keys):
    for key in keys:
        container[key]


def set_each(container, keys):
    for key in keys:
        container[key] = 1


def mix_each(container, keys):
    for i, key in enumerate(keys):
        if i % 20 == 0:
            container[key] = 1
        else:
            container[key]


def add_each(container, lock, key, times):
    for _ in range(times):
        with lock:
            container[key] += 1


def append_each(container, items):
    for item in items:
        container.append(item)


def each(work, times, processes, run, *args):
    """Nanoseconds for each by one process; millions a second together by several."""
    seconds = together(processes, run, *args)
    if processes == 1:
        figure(work, seconds / times * 1e9, "ns")
    else:
        figure(work, processes * times / seconds * 1e-6, "M/s")


def bench_dict(manager):
    times = count(5000)
    keys, shuffled = make_keys(count(1000000))
    shared = manager.dict()
    each("dict insert of new keys", times, 1, set_each, shared, keys[:times])
    fill(shared, keys[times:])
    reached = shuffled[:times]
    each("dict get by 1 process", times, 1, get_each, shared, reached)
    each("dict get by 2 processes", times, 2, get_each, shared, reached)
    each("dict set by 1 process", times, 1, set_each, shared, reached)
    each("dict set by 2 processes", times, 2, set_each, shared, reached)
    each("dict 95 % get 5 % set by 2 processes", times, 2, mix_each, shared, reached)
    lock = mp.Lock()
    for processes, name in (1, "1 process"), (8, "8 processes"):
        adds = count(4000) // processes or 1
        seconds = together(processes, add_each, shared, lock, keys[0], adds)
        figure("dict add on one key by " + name, processes * adds / seconds * 1e-6, "M/s")
    begin = now()
    for _ in shared.items():
        pass
    figure("dict iterate per entry", (now() - begin) / len(keys) * 1e9, "ns")


def bench_list(manager):
    times = count(5000)
    shared = manager.list()
    each("list append by 1 process", times, 1, append_each, shared, range(times))
    each("list append by 2 processes", times, 2, append_each, shared, range(times))
    each("list get by 1 process", times, 1, get_each, shared, range(times))
    each("list set by 1 process", times, 1, set_each, shared, range(times))
    begin = now()
    for _ in shared[:]:
        pass
    figure("list iterate per item", (now() - begin) / (3 * times) * 1e9, "ns")


def lock_each(lock, times):
    for _ in range(times):
        with lock:
            pass


def bench_manager_lock(manager):
    lock = manager.Lock()
    times = count(2000)
    begin = now()
    lock_each(lock, times)
    figure("lock + unlock uncontended", (now() - begin) / times * 1e9, "ns", "Python Manager().Lock")


def bench_lock():
    lock = mp.Lock()
    times = count(200000)
    begin = now()
    lock_each(lock, times)
    figure("lock + unlock uncontended", (now() - begin) / times * 1e9, "ns")
    counts = mp.Array("q", 8, lock=False)
    seconds = 0.5

    def contend(number):
        end = now() + seconds
        while now() < end:
            lock_each(lock, 256)
            counts[number] += 256

    children = [mp.Process(target=contend, args=(i,)) for i in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    figure("lock + unlock by 8 processes", sum(counts) / seconds * 1e-6, "M/s")
    figure("lock by 8 processes: least/most", min(counts) / max(counts), "share")


def nothing():
    pass


def bench_process():
    times = count(50)
    begin = now()
    for _ in range(times):
        child = mp.Process(target=nothing)
        child.start()
        child.join()
        child.close()
    figure("process start + join", (now() - begin) / times * 1e6, "µs")


def square(x):
    return x * x


def take(argument):
    return argument[0]


def give(_):
    return MEBI


def end(pool):
    pool.close()
    pool.join()


def bench_pool():
    times = count(50)
    whole = first = 0
    for _ in range(times):
        begin = now()
        pool = mp.Pool(2)
        end(pool)
        whole += now() - begin
        begin = now()
        pool = mp.Pool(2)
        pool.apply(square, (3,))
        first += now() - begin
        end(pool)
    figure("pool create + close + join", whole / times * 1e3, "ms")
    figure("pool create until first result", first / times * 1e3, "ms")

    pool = mp.Pool(2)
    spans = []
    for _ in range(count(2000)):
        begin = now()
        pool.apply(square, (3,))
        spans.append(now() - begin)
    round_trips(spans, SYSTEM)
    rested_round_trips(lambda: pool.apply(square, (3,)), SYSTEM)

    numbers = range(count(1000000))
    for name in "first map of x*x over 1 M ints", "map of x*x over 1 M ints":
        begin = now()
        pool.map(square, numbers)
        figure(name, (now() - begin) * 1e3, "ms")
    numbers = range(count(20000))
    begin = now()
    pool.map(square, numbers, 1)
    figure("map with chunk size 1", len(numbers) / (now() - begin) * 1e-6, "M/s")

    for name, task, argument in ("argument", take, MEBI), ("result", give, 0):
        times = count(50)
        begin = now()
        for _ in range(times):
            pool.apply(task, (argument,))
        figure(f"apply with 1 MiB {name}", times * len(MEBI) / (now() - begin) * 1e-9, "GB/s")
    end(pool)

    for workers in 2, 16:
        with_workers = mp.Pool(workers)
        figure(f"apply_async + get with {workers} workers", small_tasks(with_workers, count(10000)), "M/s")
        end(with_workers)


def small_tasks(pool, tasks):
    """Millions a second."""
    begin = now()
    results = [pool.apply_async(square, (x,)) for x in range(tasks)]
    for result in results:
        result.get()
    return tasks / (now() - begin) * 1e-6


def burn(steps):
    """A task of a certain length: not a look at the clock, as a worker that does not run would look at it for nothing."""
    x = 0
    for _ in range(steps):
        x = x * 5 + 1 & 0xFFFF
    return x


def steps_per_second():
    best = 0
    for _ in range(10):
        begin = now()
        burn(50000)
        best = max(best, 50000 / (now() - begin))
    return best


def skewed_lengths():
    """Those of pool_works.c."""
    for i in range(100 if QUICK else 1000):
        yield min(100e-6 * (((bench_random(i) >> 11) + 1) / (1 << 53)) ** (-1 / 1.3), 15e-3)


def one_by_one(pool, steps):
    """Seconds that tasks of so many steps each take, submitted one by one."""
    begin = now()
    results = [pool.apply_async(burn, (n,)) for n in steps]
    for result in results:
        result.get()
    return now() - begin


def bench_load():
    rate = steps_per_second()
    steps = [int(length * rate) for length in skewed_lengths()]
    pool = mp.Pool(2)
    begin = now()
    for n in steps:
        burn(n)
    ideal = (now() - begin) / 2
    begin = now()
    pool.map(burn, steps)
    figure("skewed tasks by map: part of the ideal", ideal / (now() - begin), "share")
    figure("skewed tasks one by one: part of the ideal", ideal / one_by_one(pool, steps), "share")
    many = mp.Pool(64)
    steps = [int(10e-6 * rate)] * count(2000)
    one_by_one(many, steps)
    figure("10 µs tasks: 64 workers / 2 workers", one_by_one(pool, steps) / one_by_one(many, steps), "share")
    end(pool)
    end(many)


def bench_executor():
    """concurrent.futures, which many use in place of Pool."""
    system = "Python ProcessPoolExecutor"

    def executor(workers):
        return concurrent.futures.ProcessPoolExecutor(workers, mp_context=mp)

    times = count(50)
    begin = now()
    for _ in range(times):
        with executor(2) as pool:
            pool.submit(square, 3).result()
    figure("pool create until first result", (now() - begin) / times * 1e3, "ms", system)
    with executor(2) as pool:
        spans = []
        for _ in range(count(2000)):
            begin = now()
            pool.submit(square, 3).result()
            spans.append(now() - begin)
        round_trips(spans, system)
        rested_round_trips(lambda: pool.submit(square, 3).result(), system)
        numbers = range(count(1000000))
        begin = now()
        for _ in pool.map(square, numbers, chunksize=len(numbers) // 8):
            pass
        figure("map of x*x over 1 M ints", (now() - begin) * 1e3, "ms", system)
        numbers = range(count(5000))
        begin = now()
        for _ in pool.map(square, numbers):
            pass
        figure("map with chunk size 1", len(numbers) / (now() - begin) * 1e-6, "M/s", system)
    for workers in 2, 16:
        with executor(workers) as pool:
            tasks = count(5000)
            begin = now()
            for future in [pool.submit(square, x) for x in range(tasks)]:
                future.result()
            figure(f"apply_async + get with {workers} workers", tasks / (now() - begin) * 1e-6, "M/s", system)


def round_trips(spans, system, work="apply round trip"):
    spans.sort()
    figure(f"{work}: median", spans[len(spans) // 2] * 1e6, "µs", system)
    figure(f"{work}: 99th percentile", spans[len(spans) * 99 // 100] * 1e6, "µs", system)


def rested_round_trips(apply, system):
    """With 200 µs of rest before each."""
    spans = []
    for _ in range(count(2000)):
        time.sleep(200e-6)
        begin = now()
        apply()
        spans.append(now() - begin)
    round_trips(spans, system, "apply round trip after a rest")


def answer(receive, send):
    """Says of what arrives that it has arrived, until None does."""
    while (message := receive()) is not None:
        send(message[:1])


class Messages:
    """A child that answers, through a pair of pipes or queues."""

    def __init__(self, system):
        self.system = system
        if system == "Python Pipe":
            ours, theirs = mp.Pipe()
            self.send, self.receive = ours.send, ours.recv
            ends = theirs.recv, theirs.send
        else:
            there, back = mp.Queue(), mp.Queue()
            self.send, self.receive = there.put, back.get
            ends = there.get, back.put
        self.child = mp.Process(target=answer, args=ends)
        self.child.start()

    def seconds(self, payload, times):
        """Of each round trip, after a first one."""
        spans = []
        for _ in range(times + 1):
            begin = now()
            self.send(payload)
            self.receive()
            spans.append(now() - begin)
        return spans[1:]

    def end(self):
        self.send(None)
        self.child.join()


def bench_messages():
    for system in "Python Pipe", "Python Queue":
        messages = Messages(system)
        round_trips(messages.seconds(b"12345678", count(2000)), system)
        spans = messages.seconds(MEBI, count(50))
        figure("apply with 1 MiB argument", len(spans) * len(MEBI) / sum(spans) * 1e-9, "GB/s", system)
        messages.end()


def sweep_entries(manager):
    shared = manager.dict()
    length = 0
    for entries in 1000, 10000, 100000, 1000000:
        if QUICK and entries > 10000:
            break
        fill(shared, [f"{bench_random(i):016x}" for i in range(length, entries)])
        length = entries
        keys = [f"{bench_random(bench_random(i) % length):016x}" for i in range(count(2000))]
        point("dict get", "entries", entries, together(1, get_each, shared, keys) / len(keys) * 1e9, "ns")


def sweep_processes(manager):
    shared, lock = manager.dict(), mp.Lock()
    keys = [f"{bench_random(i):016x}" for i in range(1000)]
    fill(shared, keys)
    for processes in 1, 2, 4, 8, 16, 32, 64:
        if QUICK and processes > 4:
            break
        some = random.choices(keys, k=max(count(2000) // processes, 10))
        operations = processes * len(some)
        for work, seconds in (("dict get", together(processes, get_each, shared, some)),
                              ("dict set", together(processes, set_each, shared, some)),
                              ("dict add on one key", together(processes, add_each, shared, lock, keys[0], len(some)))):
            point(work, "processes", processes, operations / seconds * 1e-6, "M/s")
        operations = count(200000)
        seconds = together(processes, lock_each, lock, operations // processes)
        point("lock + unlock", "processes", processes, operations / seconds * 1e-6, "M/s")


def sweep_pools():
    rate = steps_per_second()
    for workers in 1, 2, 4, 8, 16, 32, 64:
        if QUICK and workers > 4:
            break
        pool = mp.Pool(workers)
        point("apply_async + get", "workers", workers, small_tasks(pool, count(5000)), "M/s")
        tasks = count(2000)
        point("10 µs tasks", "workers", workers, one_by_one(pool, [int(10e-6 * rate)] * tasks) / tasks * 1e6, "µs")
        end(pool)
    pool = mp.Pool(2)
    for length in 0, 1e-6, 10e-6, 100e-6, 1e-3, 10e-3:
        tasks = count(2000) if length < 100e-6 else int((0.02 if QUICK else 0.2) / length) // 2 * 2 + 2
        seconds = one_by_one(pool, [int(length * rate)] * tasks)
        point("task by 2 workers", "length in µs", length * 1e6, seconds / tasks * 1e6, "µs")
    size = 8
    while size <= 16 << 20:
        times = count(min(500, (64 << 20) // size + 1))
        begin = now()
        for _ in range(times):
            pool.apply(take, (b"x" * size,))
        point("apply with argument", "bytes", size, (now() - begin) / times * 1e6, "µs")
        size *= 8
    end(pool)
    for system in "Python Pipe", "Python Queue":
        messages = Messages(system)
        size = 8
        while size <= 16 << 20:
            spans = messages.seconds(b"x" * size, count(min(500, (64 << 20) // size + 1)))
            point("apply with argument", "bytes", size, sum(spans) / len(spans) * 1e6, "µs", system)
            size *= 8
        messages.end()


def sweep():
    with mp.Manager() as manager:
        if wanted("dict|entries"):
            sweep_entries(manager)
        if wanted("dict|processes"):
            sweep_processes(manager)
    if wanted("pool|workers"):
        sweep_pools()


def main():
    if SWEEPS:
        sweep()
        return
    with mp.Manager() as manager:
        bench_dict(manager)
        bench_list(manager)
        bench_manager_lock(manager)
    bench_lock()
    bench_process()
    bench_pool()
    bench_load()
    bench_executor()
    bench_messages()


if __name__ == "__main__":
    main()
