/* What the system itself offers as locks between processes, beside the robust mutex: a POSIX semaphore and flock(). */
#include <fcntl.h>
#include <mp.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "../lock_works.h"

static sem_t *semaphore;
static char *path;
static int file;

static void semaphore_once(void)
{
    BENCH_CHECK(sem_wait(semaphore));
    ++*lock_guarded;
    BENCH_CHECK(sem_post(semaphore));
}

static void flock_once(void)
{
    BENCH_CHECK(flock(file, LOCK_EX));
    ++*lock_guarded;
    BENCH_CHECK(flock(file, LOCK_UN));
}

/* The lock belongs to the open file: each process needs one of its own. */
static void open_file(void)
{
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    BENCH_CHECK(file < 0 ? MP_ESYSTEM : 0);
}

int main(int argc, char **argv)
{
    char name[64];

    bench_begin(argc, argv);
    lock_works_begin();
    snprintf(name, sizeof name, "/mp-bench-%d", (int)getpid());
    semaphore = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
    BENCH_CHECK(semaphore == SEM_FAILED ? MP_ESYSTEM : 0);
    sem_unlink(name);
    path = bench_file("flock");
    open_file();
    lock_works("sem_open", semaphore_once, NULL, 1);
    lock_works("flock", flock_once, open_file, 50);
    sem_close(semaphore);
    close(file);
    unlink(path);
    free(path);
    return 0;
}
