/* A hundred processes share a dict and a lock. */
#include <mp.h>

#include "check.h"

#define PROCESSES 100

struct job {
    mp_dict *dict;
    mp_lock *lock;
};

/* Python: with lock: d["count"] -= 1 */
static int work(void *arg)
{
    struct job *job = arg;
    int64_t count;

    MP_WITH_LOCK (job->lock) {
        CHECK(mp_dict_get_int(job->dict, "count", &count));
        CHECK(mp_dict_set_int(job->dict, "count", count - 1));
    }
    return 0;
}

int main(void)
{
    mp_manager *manager;
    mp_process *process[PROCESSES];
    struct job job;

    CHECK(mp_manager_create(&manager, NULL));
    CHECK(mp_manager_dict(manager, &job.dict));
    CHECK(mp_lock_create(&job.lock, NULL));
    CHECK(mp_dict_set_int(job.dict, "count", PROCESSES));
    for (int i = 0; i < PROCESSES; i++)
        CHECK(mp_process_start(&process[i], work, &job, NULL));
    for (int i = 0; i < PROCESSES; i++) {
        CHECK(mp_process_join(process[i], MP_FOREVER));
        CHECK(mp_process_free(process[i]));
    }
    CHECK(mp_dict_print(job.dict, stdout));
    printf("\n");
    CHECK(mp_lock_free(job.lock));
    CHECK(mp_manager_free(manager));
    return 0;
}
