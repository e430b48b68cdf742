import time
from multiprocessing import Pool


def job(num):
    time.sleep(0.01)


if __name__ == "__main__":
    for jobs in (4, 100):
        for people in (1, 2, 4):
            start = time.time()
            pool = Pool(people)
            for num in range(jobs):
                pool.apply_async(job, (num,))
            pool.close()
            pool.join()
            print(f"{people} people, {jobs} jobs: {time.time() - start:.3f} s")
