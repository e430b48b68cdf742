"""The same work with Python's multiprocessing: fewer operations, figures in the same units (see bench.h)."""
import multiprocessing
import platform
import sys
import time

mp = multiprocessing.get_context("fork")
now = time.perf_counter
SYSTEM = "Python " + platform.python_version()
QUICK = "--quick" in sys.argv
WANTED = [word for word in sys.argv[1:] if not word.startswith("--")]
MEBI = b"x" * (1 << 20)


def count(full):
    return max(full // 50, 1) if QUICK else full


def figure(work, value, unit):
    if not WANTED or WANTED[0] in work:
        print(SYSTEM, work, f"{value:.4g}", unit, sep=",", flush=True)


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
    keys = [f"{i * 0x9E3779B97F4A7C15 % (1 << 64):016x}" for i in range(times)]
    shared = manager.dict()
    each("dict insert of new keys", times, 1, set_each, shared, keys)
    each("dict get by 1 process", times, 1, get_each, shared, keys)
    each("dict get by 2 processes", times, 2, get_each, shared, keys)
    each("dict set by 1 process", times, 1, set_each, shared, keys)
    each("dict set by 2 processes", times, 2, set_each, shared, keys)
    each("dict 95 % get 5 % set by 2 processes", times, 2, mix_each, shared, keys)
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
    spans.sort()
    figure("apply round trip: median", spans[len(spans) // 2] * 1e6, "µs")
    figure("apply round trip: 99th percentile", spans[len(spans) * 99 // 100] * 1e6, "µs")

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
        pool = mp.Pool(workers)
        numbers = range(count(10000))
        begin = now()
        results = [pool.apply_async(square, (x,)) for x in numbers]
        for result in results:
            result.get()
        figure(f"apply_async + get with {workers} workers", len(numbers) / (now() - begin) * 1e-6, "M/s")
        end(pool)


def main():
    with mp.Manager() as manager:
        bench_dict(manager)
        bench_list(manager)
    bench_lock()
    bench_process()
    bench_pool()


if __name__ == "__main__":
    main()
