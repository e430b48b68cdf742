import subprocess
import sys
import time
from multiprocessing import Pool, Process


def tell_later(who):
    time.sleep(0.3)
    print(f"  the {who} has finished", flush=True)


def process_is_waited_for():
    Process(target=tell_later, args=("process",)).start()


def daemon_is_not():
    Process(target=tell_later, args=("daemon",), daemon=True).start()


def pool_ends_with_the_program():
    global pool
    pool = Pool(2)
    pool.apply_async(tell_later, ("task",))


def pool_is_joined():
    pool = Pool(2)
    pool.apply_async(tell_later, ("task",))
    pool.close()
    pool.join()


CASES = [
    ("a process is waited for", process_is_waited_for),
    ("a daemon is not", daemon_is_not),
    ("a pool's workers end with the main program", pool_ends_with_the_program),
    ("a pool that is closed and joined finishes first", pool_is_joined),
]

if __name__ == "__main__":
    if len(sys.argv) > 1:
        CASES[int(sys.argv[1])][1]()
        print("  the main program ends", flush=True)
    else:
        for number, (name, _) in enumerate(CASES):
            print(f"{name}:", flush=True)
            subprocess.run([sys.executable, __file__, str(number)], check=True)
