/* The mark of an owner is all that others need to know of it: its number in the heap, which names the byte that it
 * locks, whether it could lock that, and its pid. The number is taken with an atomic add, so a process becomes an owner
 * without the heap's mutex. */
#include "object/owner.h"

#include <fcntl.h>
#include <mp.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/lifecycle.h"
#include "base/proc.h"
#include "heap/heap_file.h"

/* The bytes that owners lock begin far behind all that a heap can hold. */
#define LOCKED_BYTES (UINT64_C(1) << 40)

/* A mark: the pid in the lowest bits (Linux uses no more), then whether the byte is locked, then from
 * OWNER_NUMBER_SHIFT on the number. */
#define MARK_PID ((UINT64_C(1) << 22) - 1)
#define MARK_LOCKED (UINT64_C(1) << 22)

static pthread_mutex_t owners_mutex = PTHREAD_MUTEX_INITIALIZER;
/* Includes the owners inherited from processes that this one was forked from: it shares their locks. */
static struct owner *owners;

static void after_fork(void)
{
    pthread_mutex_init(&owners_mutex, NULL);
}

/* Locks the owner's byte for as long as the description is open. The descriptor, or -1. */
static int lock_byte(const struct heap *heap, uint64_t number)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)(LOCKED_BYTES + number), .l_len = 1};
    int fd = heap_reopen(heap);

    if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        heap_close_reopened(heap, fd);
        fd = -1;
    }
    return fd;
}

/* Under owners_mutex. */
static int begin(struct heap *heap, struct owner **result)
{
    struct owner *owner = calloc(1, sizeof *owner);

    if (owner == NULL)
        return MP_ENOMEM;
    uint64_t number = atomic_fetch_add(&heap->owners, 1) + 1;
    owner->heap = heap;
    owner->heap_seed = heap->seed[0];
    owner->process = getpid();
    owner->fd = lock_byte(heap, number);
    owner->mark = number << OWNER_NUMBER_SHIFT | (owner->fd >= 0 ? MARK_LOCKED : 0) | (uint64_t)owner->process;
    owner->grown = UINT64_MAX;
    pthread_mutex_init(&owner->mutex, NULL);
    owner->next = owners;
    owners = owner;
    *result = owner;
    return 0;
}

/* Under owners_mutex. */
static struct owner *find(const struct heap *heap)
{
    struct owner *owner = owners;

    while (owner != NULL &&
           (owner->heap != heap || owner->heap_seed != heap->seed[0] || owner->process != lifecycle_pid()))
        owner = owner->next;
    return owner;
}

int owner_begin(struct heap *heap, struct owner **owner)
{
    int error = 0;

    pthread_mutex_lock(&owners_mutex);
    *owner = find(heap);
    if (*owner == NULL) {
        lifecycle_register(LIFECYCLE_HOLD, NULL, after_fork);
        error = begin(heap, owner);
    }
    pthread_mutex_unlock(&owners_mutex);
    return error;
}

struct owner *owner_find(const struct heap *heap)
{
    pthread_mutex_lock(&owners_mutex);
    struct owner *owner = find(heap);
    pthread_mutex_unlock(&owners_mutex);
    return owner;
}

/* Forgets the holds that could not be given up before the heap is closed. They are given back when the owner is found
 * dead. */
static void free_owed(struct owner *owner)
{
    struct owed *owed = atomic_load(&owner->owed);

    while (owed != NULL) {
        struct owed *next = owed->next;

        free(owed);
        owed = next;
    }
}

void owner_leave(struct heap *heap, void (*leave)(struct owner *owner))
{
    struct owner *own = owner_find(heap);

    if (own != NULL)
        leave(own);
    pthread_mutex_lock(&owners_mutex);
    for (struct owner **link = &owners; *link != NULL;) {
        struct owner *owner = *link;

        if (owner->heap != heap || owner->heap_seed != heap->seed[0]) {
            link = &owner->next;
            continue;
        }
        *link = owner->next;
        heap_close_reopened(heap, owner->fd);
        free_owed(owner);
        free(owner);
    }
    pthread_mutex_unlock(&owners_mutex);
}

bool owner_is_dead(const struct heap *heap, uint64_t mark, bool left)
{
    pid_t process = (pid_t)(mark & MARK_PID);
    bool locked = false;

    if ((mark & MARK_LOCKED) == 0 || (!left && process == getpid()))
        return false;
    if (!heap_byte_locked(heap, LOCKED_BYTES + (mark >> OWNER_NUMBER_SHIFT), &locked) || locked)
        return false;
    return left || !thread_shares(process, heap);
}
