/* How the processes of a pool map the memory of managers that were made or opened after they were forked.
 *
 * A manager's heap is a file without a name, or one whose name may be gone: the only way to it is through a descriptor
 * of a process that has it open. So the keeper opens the caller's descriptor anew, through /proc, maps the file, and
 * keeps a descriptor of its own. Workers open that one anew, map it, and close it. Each process may have the file at
 * another address: shared data holds the caller's address only. The files are opened anew, not shared: so no other
 * process holds the lock of a manager's name for the caller, and a name goes when its users have gone.
 *
 * The keeper comes first. It runs no tasks, and every worker that it forks from then on inherits what it has mapped. So
 * once the keeper has a guest, maps can count on it. A worker may be unable to map the guest: a task has used up its
 * descriptors or addresses, or has changed the worker's user so that it may not look into the keeper. Then it ends, and
 * a new worker that has inherited the guest takes its place. After the first worker that could not, new guests are
 * copied from instead. If the keeper cannot map a guest (the process may not be looked into, as with
 * prctl(PR_SET_DUMPABLE, 0); no /proc), the map is done with copies.
 *
 * A guest goes when the caller closes the manager, but not before the last map that uses it is released; or when its
 * place is wanted for another guest and no map uses it. The caller then wakes the keeper and all workers, so that
 * memory which is no longer used is given back: by idle workers at once, by the others after their task.
 *
 * DEATHS. The mappings of a worker end with it, and it has written nothing here that others would read. If the keeper
 * dies, the workers die too. */
#include "pool/guests.h"

#include <limits.h>
#include <mp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/delay.h"
#include "base/platform.h"
#include "pool/pool.h"

#define PATIENCE_NS INT64_C(500000000)
#define LOOK_NS INT64_C(10000000)

/* What this process, a keeper or a worker, has mapped. */
static struct {
    struct pool *pool;
    struct {
        uint32_t number; /* the guest's; 0: none */
        int fd;          /* the keeper's; -1: none */
        char *start;
        uint64_t length;
    } seat[GUESTS];
} self;

static uint32_t state_of(uint32_t word)
{
    return word & GUEST_STATE;
}

static uint32_t number_of(uint32_t word)
{
    return word >> GUEST_NUMBER_SHIFT;
}

/* ---- the caller's side ---- */

static struct guest *find(struct pool *pool, uint64_t serial)
{
    for (int i = 0; i < GUESTS; i++) {
        struct guest *guest = &pool->guest[i];

        if (state_of(atomic_load(&guest->word)) != GUEST_NONE && atomic_load(&guest->serial) == serial)
            return guest;
    }
    return NULL;
}

/* Removes a guest that no map uses. The caller holds the mutex, and ends with pool_unlock(). */
static void send_away(mp_pool *pool, struct guest *guest)
{
    atomic_store(&guest->word, number_of(atomic_load(&guest->word)) << GUEST_NUMBER_SHIFT | GUEST_NONE);
    DELAY_POINT();
    atomic_fetch_add(&pool->shared.guests_changed, 1);
    pool->to_call = POOL_CALL_ALL;
}

/* A free place, or that of the guest that has not been wanted for the longest time. NULL: all are in use. */
static struct guest *make_place(mp_pool *pool)
{
    struct guest *oldest = NULL;

    for (int i = 0; i < GUESTS; i++) {
        struct guest *guest = &pool->shared.guest[i];

        if (state_of(atomic_load(&guest->word)) == GUEST_NONE)
            return guest;
        if (guest->maps == 0 && (oldest == NULL || guest->used < oldest->used))
            oldest = guest;
    }
    if (oldest != NULL)
        send_away(pool, oldest);
    return oldest;
}

static struct guest *make_guest(mp_pool *pool, const struct heap_file *file, const void *start)
{
    struct guest *guest = make_place(pool);

    if (guest == NULL)
        return NULL;
    atomic_store(&guest->caller_fd, file->fd);
    atomic_store(&guest->serial, file->serial);
    atomic_store(&guest->start, (uint64_t)(uintptr_t)start);
    atomic_store(&guest->length, file->length);
    atomic_store(&guest->device, file->device);
    atomic_store(&guest->inode, file->inode);
    guest->maps = 0;
    guest->closed = guest->late = false;
    uint32_t number = ++pool->guests_made & (UINT32_MAX >> GUEST_NUMBER_SHIFT);
    atomic_store(&guest->word, (number != 0 ? number : 1) << GUEST_NUMBER_SHIFT | GUEST_WANTED);
    return guest;
}

/* Waits for the keeper's answer. Returns whether the keeper has mapped the guest. */
static bool await(mp_pool *pool, struct guest *guest)
{
    int64_t deadline = clock_now() + PATIENCE_NS;
    uint32_t word;

    while (state_of(word = atomic_load(&guest->word)) == GUEST_WANTED) {
        int64_t now = clock_now();

        if (now >= deadline || pool_look_after_keeper(pool))
            return false;
        futex_wait(&guest->word, word, now + LOOK_NS < deadline ? now + LOOK_NS : deadline);
    }
    return state_of(word) == GUEST_THERE;
}

uint32_t guest_invite(mp_pool *pool, const struct heap_file *file, const void *start)
{
    struct pool *shared = &pool->shared;

    pthread_mutex_lock(&pool->mutex);
    struct guest *guest = find(shared, file->serial);
    bool is_new = guest == NULL;
    if (is_new && atomic_load(&shared->no_guests) == 0)
        guest = make_guest(pool, file, start);
    if (guest != NULL) {
        guest->maps++;
        guest->used = ++pool->guests_wanted;
    }
    bool waits = guest != NULL && !guest->late && state_of(atomic_load(&guest->word)) == GUEST_WANTED;
    if (waits && is_new && pool->to_call == POOL_CALL_NOBODY)
        pool->to_call = POOL_CALL_KEEPER;
    pool_unlock(pool);
    if (guest == NULL)
        return 0;
    if (waits ? await(pool, guest) : state_of(atomic_load(&guest->word)) == GUEST_THERE)
        return (uint32_t)(guest - shared->guest) + 1;
    pthread_mutex_lock(&pool->mutex);
    guest->late = true;
    guest_release(pool, (uint32_t)(guest - shared->guest) + 1);
    pool_unlock(pool);
    return 0;
}

void guest_release(mp_pool *pool, uint32_t index)
{
    if (index == 0)
        return;
    struct guest *guest = &pool->shared.guest[index - 1];
    if (--guest->maps == 0 && guest->closed)
        send_away(pool, guest);
}

void guests_heap_closed(mp_pool *pool, uint64_t serial)
{
    struct guest *guest = find(&pool->shared, serial);

    if (guest == NULL)
        return;
    guest->closed = true;
    if (guest->maps == 0)
        send_away(pool, guest);
}

/* ---- the keeper's side, and the workers' ---- */

static void unmap(int i)
{
    if (self.seat[i].number != 0)
        munmap(self.seat[i].start, self.seat[i].length);
    if (self.seat[i].fd >= 0)
        close(self.seat[i].fd);
    self.seat[i].number = 0;
    self.seat[i].fd = -1;
}

/* Maps guest i with this number through the descriptor `fd` of `process`. */
static bool map(struct guest *guest, int i, uint32_t number, pid_t process, int fd)
{
    struct heap_file file = {.length = atomic_load(&guest->length),
                             .device = (dev_t)atomic_load(&guest->device),
                             .inode = (ino_t)atomic_load(&guest->inode),
                             .fd = fd};
    /* Try the same address; it may be free. */
    void *near = (void *)(uintptr_t)atomic_load(&guest->start);

    unmap(i);
    self.seat[i].start = heap_borrow(process, &file, near, &self.seat[i].fd);
    if (self.seat[i].start == NULL)
        return false;
    self.seat[i].length = file.length;
    self.seat[i].number = number;
    return true;
}

void guests_begin(struct pool *pool)
{
    /* If this pool is made in a task of another pool, the mappings of that pool's worker stay, as does all that a fork
     * passes on. */
    self.pool = pool;
    for (int i = 0; i < GUESTS; i++) {
        self.seat[i].number = 0;
        self.seat[i].fd = -1;
    }
}

void guests_clear(struct pool *pool)
{
    for (int i = 0; i < GUESTS; i++) {
        uint32_t word = atomic_load(&pool->guest[i].word);

        if (self.seat[i].number != 0 && (self.seat[i].number != number_of(word) || state_of(word) == GUEST_NONE))
            unmap(i);
    }
}

static void receive(struct pool *pool, int i)
{
    struct guest *guest = &pool->guest[i];
    uint32_t word = atomic_load(&guest->word), number = number_of(word);

    if (state_of(word) != GUEST_WANTED)
        return;
    bool mapped = map(guest, i, number, pool->caller, atomic_load(&guest->caller_fd));
    DELAY_POINT();
    atomic_store(&guest->keeper_fd, self.seat[i].fd);
    uint32_t next = number << GUEST_NUMBER_SHIFT | (uint32_t)(mapped ? GUEST_THERE : GUEST_REFUSED);
    if (atomic_compare_exchange_strong(&guest->word, &word, next))
        futex_wake(&guest->word, INT_MAX);
    else
        unmap(i); /* it was sent away meanwhile */
}

void guests_keep(struct pool *pool)
{
    guests_clear(pool);
    for (int i = 0; i < GUESTS; i++)
        receive(pool, i);
}

void guests_enter_worker(void)
{
    for (int i = 0; i < GUESTS; i++) {
        if (self.seat[i].fd >= 0)
            close(self.seat[i].fd);
        self.seat[i].fd = -1;
    }
}

bool guest_admit(struct pool *pool, uint32_t index)
{
    if (index == 0)
        return true;
    int i = (int)index - 1;
    struct guest *guest = &pool->guest[i];
    uint32_t number = number_of(atomic_load(&guest->word));
    if (self.seat[i].number == number)
        return true;
    if (!map(guest, i, number, getppid(), atomic_load(&guest->keeper_fd))) {
        atomic_store(&pool->no_guests, 1);
        return false;
    }
    close(self.seat[i].fd);
    self.seat[i].fd = -1;
    return true;
}

void *guest_memory(struct pool *pool, uint32_t index, uint64_t at)
{
    if (index == 0 || self.pool != pool)
        return (void *)(uintptr_t)at;
    return self.seat[index - 1].start + (at - atomic_load(&pool->guest[index - 1].start));
}
