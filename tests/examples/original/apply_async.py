import os
import time
from multiprocessing import Pool


def task(num):
    time.sleep(0.02)
    print(f"{num}:{os.getpid()}", flush=True)
    return os.getpid()


if __name__ == "__main__":
    pool = Pool()
    results = [pool.apply_async(task, (i,)) for i in range(20)]
    pids = {result.get() for result in results}
    print(pids, len(pids))
    pool.close()
    pool.join()
    print("finish")
