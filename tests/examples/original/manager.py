from multiprocessing import Lock, Manager, Process


def work(d, lock):
    with lock:
        d["count"] -= 1


if __name__ == "__main__":
    lock = Lock()
    with Manager() as manager:
        d = manager.dict()
        d["count"] = 100
        processes = [Process(target=work, args=(d, lock)) for _ in range(100)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        print(d)
