import os
import time
from multiprocessing import Pool


def task(num):
    time.sleep(0.01)
    print(f"{num}:{os.getpid()}", flush=True)
    return num


if __name__ == "__main__":
    pool = Pool()
    for i in range(20):
        num = pool.apply(task, (i,))
        print("-->", num, flush=True)
    pool.close()
    pool.join()
    print("finish")
