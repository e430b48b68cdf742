from multiprocessing import Pool


def square(x):
    return x * x


if __name__ == "__main__":
    pool = Pool()
    print(pool.map(square, range(100)))
    pool.close()
    pool.join()
    print("123455")
