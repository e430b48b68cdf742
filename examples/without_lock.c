/* What goes wrong without a lock, and which operations need none. A hundred processes share a dict and a list. */
#include <mp.h>
#include <time.h>

#include "check.h"

#define PROCESSES 100

struct job {
    mp_dict *dict;
    mp_list *list;
    mp_lock *lock;
};

/* Python: lock.acquire(); d["count"] -= 1; lock.release() */
static int acquire_release(void *arg)
{
    struct job *job = arg;
    int64_t count;

    CHECK(mp_lock_acquire(job->lock, MP_FOREVER));
    CHECK(mp_dict_get_int(job->dict, "count", &count));
    CHECK(mp_dict_set_int(job->dict, "count", count - 1));
    CHECK(mp_lock_release(job->lock));
    return 0;
}

/* The mistake: between the get and the set, other processes get the same count. The nap makes sure that it happens. */
static int without_lock(void *arg)
{
    const struct timespec nap = {.tv_nsec = 2000000};
    struct job *job = arg;
    int64_t count;

    CHECK(mp_dict_get_int(job->dict, "count", &count));
    nanosleep(&nap, NULL);
    CHECK(mp_dict_set_int(job->dict, "count", count - 1));
    return 0;
}

/* An atomic operation: no lock is needed. */
static int atomic_add(void *arg)
{
    struct job *job = arg;

    CHECK(mp_dict_add_int(job->dict, "count", -1, NULL));
    return 0;
}

static int append(void *arg)
{
    struct job *job = arg;

    CHECK(mp_list_append_int(job->list, 1));
    return 0;
}

static void run(const char *heading, mp_process_function *function, struct job *job)
{
    mp_process *process[PROCESSES];

    printf("%s\n", heading);
    CHECK(mp_dict_set_int(job->dict, "count", PROCESSES));
    for (int i = 0; i < PROCESSES; i++)
        CHECK(mp_process_start(&process[i], function, job, NULL));
    for (int i = 0; i < PROCESSES; i++) {
        CHECK(mp_process_join(process[i], MP_FOREVER));
        CHECK(mp_process_free(process[i]));
    }
}

static void print_dict(mp_dict *dict)
{
    CHECK(mp_dict_print(dict, stdout));
    printf("\n");
}

int main(void)
{
    mp_manager *manager;
    struct job job;
    int64_t left;
    size_t length;

    CHECK(mp_manager_create(&manager, NULL));
    CHECK(mp_manager_dict(manager, &job.dict));
    CHECK(mp_manager_list(manager, &job.list));
    CHECK(mp_lock_create(&job.lock, NULL));

    run("with the lock, acquire and release:", acquire_release, &job);
    print_dict(job.dict);

    run("without the lock:", without_lock, &job);
    CHECK(mp_dict_get_int(job.dict, "count", &left));
    printf("%s: %lld of %d steps were lost, as several processes read the same count\n", left > 0 ? "wrong" : "lucky",
           (long long)left, PROCESSES);

    run("without the lock, but in one step:", atomic_add, &job);
    print_dict(job.dict);

    run("a shared list:", append, &job);
    CHECK(mp_list_length(job.list, &length));
    printf("%zu elements\n", length);

    CHECK(mp_lock_free(job.lock));
    CHECK(mp_manager_free(manager));
    return 0;
}
