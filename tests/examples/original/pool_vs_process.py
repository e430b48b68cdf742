import time
from multiprocessing import Pool, Process


def send_mail(num):
    print(f"mail {num}", flush=True)


if __name__ == "__main__":
    start = time.time()
    pool = Pool()
    for num in range(100):
        pool.apply_async(send_mail, (num,))
    pool.close()
    pool.join()
    with_pool = time.time() - start

    start = time.time()
    processes = [Process(target=send_mail, args=(num,)) for num in range(100)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with_processes = time.time() - start
    print(f"pool: {with_pool:.4f} s")
    print(f"processes: {with_processes:.4f} s")
