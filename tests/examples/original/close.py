import os
import random
import time
from multiprocessing import Pool


def task(num):
    time.sleep(random.random() / 20)
    print(f"{num}:{os.getpid()}", flush=True)
    return num * num


if __name__ == "__main__":
    pool = Pool()
    results = [pool.apply_async(task, (i,)) for i in range(20)]
    pool.close()
    pool.join()
    for result in results:
        print(result.get())
    print("finish")
    try:
        pool.apply_async(task, (20,))
    except ValueError as error:
        print(error)
