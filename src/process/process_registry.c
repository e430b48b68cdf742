#include "process/process_registry.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/descriptor.h"
#include "base/lifecycle.h"
#include "base/this_process.h"

#define FEW 8 /* children that most programs have at a time */

struct mp_process *registry_oldest;
uint64_t registry_generation;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t holders_mask; /* the signals that were blocked before the mutex was taken */
static bool forking;          /* under the mutex, by the thread `forker` */
static pthread_t forker;
static struct mp_process *newest;
static struct mp_process *holders; /* of descriptors, which a forked child has to close */
static struct mp_process few[FEW]; /* near the mutex: in a page that a fork copies anyway */
static struct mp_process *spare;
static struct mp_process *newest_made;

void registry_lock_as_known(void)
{
    uint64_t before = signals_set(SIGNALS_ALL);

    pthread_mutex_lock(&mutex);
    holders_mask = before;
}

void registry_lock(void)
{
    lifecycle_pid();
    registry_lock_as_known();
}

void registry_unlock(void)
{
    uint64_t before = holders_mask;

    pthread_mutex_unlock(&mutex);
    signals_set(before);
}

/* ---- memory of handles and their descriptors ---- */

void registry_note_descriptors(struct mp_process *process)
{
    bool holds = process->pidfd.fd >= 0 || process->lifeline[0].fd >= 0 || process->lifeline[1].fd >= 0;

    if (holds == process->holds)
        return;
    process->holds = holds;
    if (holds) {
        process->previous_holder = NULL;
        process->next_holder = holders;
        if (holders != NULL)
            holders->previous_holder = process;
        holders = process;
        return;
    }
    if (process->previous_holder != NULL)
        process->previous_holder->next_holder = process->next_holder;
    else
        holders = process->next_holder;
    if (process->next_holder != NULL)
        process->next_holder->previous_holder = process->previous_holder;
}

void registry_close_lifeline(struct mp_process *process)
{
    descriptor_close(&process->lifeline[0]);
    descriptor_close(&process->lifeline[1]);
}

static void close_descriptors(struct mp_process *process)
{
    descriptor_close(&process->pidfd);
    registry_close_lifeline(process);
}

void registry_put_spare(struct mp_process *process)
{
    process->magic = 0;
    process->next = spare;
    spare = process;
}

static struct mp_process *make_handle(void)
{
    struct mp_process *process = malloc(sizeof *process);

    if (process == NULL)
        return NULL;
    process->magic = 0;
    registry_lock();
    process->made_before = newest_made;
    newest_made = process;
    registry_unlock();
    return process;
}

struct mp_process *registry_take_spare(void)
{
    struct mp_process *process;

    registry_lock();
    process = spare;
    if (process != NULL)
        spare = process->next;
    registry_unlock();
    if (process == NULL)
        return make_handle();
    free(process->memory);
    return process;
}

void registry_release(struct mp_process *process)
{
    int exitcode;

    if (process->waiters > 0)
        return;
    if (process->zombie)
        child_reap(process->pid, -1, &exitcode);
    process->zombie = false;
    close_descriptors(process);
    registry_note_descriptors(process);
    if (process->magic != PROCESS_MAGIC)
        registry_put_spare(process);
}

/* ---- the list of children ---- */

void registry_link(struct mp_process *process)
{
    process->previous = newest;
    process->next = NULL;
    if (newest != NULL)
        newest->next = process;
    else
        registry_oldest = process;
    newest = process;
}

void registry_unlink(struct mp_process *process)
{
    if (process->generation != registry_generation)
        return; /* a copy in a forked child */
    if (process->previous != NULL)
        process->previous->next = process->next;
    else
        registry_oldest = process->next;
    if (process->next != NULL)
        process->next->previous = process->previous;
    else
        newest = process->previous;
}

void registry_before_fork(void)
{
    registry_lock();
    forking = true;
    forker = pthread_self();
}

void registry_fork_done(void)
{
    forking = false;
    registry_unlock();
}

void registry_after_fork(void)
{
    if (!forking || !pthread_equal(forker, pthread_self())) {
        pthread_mutex_init(&mutex, NULL);
        forking = false;
    }
    for (; holders != NULL; holders = holders->next_holder)
        close_descriptors(holders);
    registry_oldest = newest = NULL;
    registry_generation++;
}

bool registry_has(const struct mp_process *process)
{
    const struct mp_process *other = newest_made;

    for (size_t i = 0; i < FEW; i++) {
        if (process == &few[i])
            return true;
    }
    while (other != NULL && other != process)
        other = other->made_before;
    return other != NULL;
}

void registry_begin(void)
{
    for (size_t i = FEW; i-- > 0;)
        registry_put_spare(&few[i]);
}

void registry_note_started(struct mp_process *process, pid_t pid)
{
    pthread_mutex_lock(&mutex);
    process->pid = pid;
    process->belief.began = process->belief.believed = clock_boot();
    process->magic = PROCESS_MAGIC;
    pthread_mutex_unlock(&mutex);
}
