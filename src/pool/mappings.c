#include "pool/mappings.h"

#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/delay.h"
#include "base/futex.h"
#include "heap/heap_file.h"

/* What this process, a supervisor or a worker, has mapped. */
static struct {
    struct pool *pool;
    struct {
        uint32_t number; /* the attachment's; 0: none */
        int fd;          /* the supervisor's; -1: none */
        char *start;
        uint64_t length;
    } seat[ATTACHMENTS];
} self;

static void unmap(int i)
{
    if (self.seat[i].number != 0)
        munmap(self.seat[i].start, self.seat[i].length);
    if (self.seat[i].fd >= 0)
        close(self.seat[i].fd);
    self.seat[i].number = 0;
    self.seat[i].fd = -1;
}

/* Maps attachment i with this number through the descriptor `fd` of `process`. */
static bool map(struct attachment *attachment, int i, uint32_t number, pid_t process, int fd)
{
    struct heap_file file = {.length = atomic_load(&attachment->length),
                             .device = (dev_t)atomic_load(&attachment->device),
                             .inode = (ino_t)atomic_load(&attachment->inode),
                             .fd = fd};
    /* Try the same address; it may be free. */
    void *near = (void *)(uintptr_t)atomic_load(&attachment->start);

    unmap(i);
    self.seat[i].start = heap_borrow(process, &file, near, &self.seat[i].fd);
    if (self.seat[i].start == NULL)
        return false;
    self.seat[i].length = file.length;
    self.seat[i].number = number;
    return true;
}

void mappings_begin(struct pool *pool)
{
    /* If this pool is made in a task of another pool, the mappings of that pool's worker stay, as does all that a fork
     * passes on. */
    self.pool = pool;
    for (int i = 0; i < ATTACHMENTS; i++) {
        self.seat[i].number = 0;
        self.seat[i].fd = -1;
    }
}

void mappings_clear(struct pool *pool)
{
    for (int i = 0; i < ATTACHMENTS; i++) {
        uint32_t word = atomic_load(&pool->attachment[i].word);

        if (self.seat[i].number != 0 &&
            (self.seat[i].number != attachment_number(word) || attachment_state(word) == ATTACHMENT_NONE))
            unmap(i);
    }
}

static void receive(struct pool *pool, int i)
{
    struct attachment *attachment = &pool->attachment[i];
    uint32_t word = atomic_load(&attachment->word), number = attachment_number(word);

    if (attachment_state(word) != ATTACHMENT_WANTED)
        return;
    bool mapped = map(attachment, i, number, pool->caller, atomic_load(&attachment->caller_fd));
    DELAY_POINT();
    atomic_store(&attachment->supervisor_fd, self.seat[i].fd);
    uint32_t next = number << ATTACHMENT_NUMBER_SHIFT | (uint32_t)(mapped ? ATTACHMENT_THERE : ATTACHMENT_REFUSED);
    if (atomic_compare_exchange_strong(&attachment->word, &word, next))
        futex_wake(&attachment->word, INT_MAX);
    else
        unmap(i); /* the caller has removed it meanwhile */
}

void mappings_keep(struct pool *pool)
{
    mappings_clear(pool);
    for (int i = 0; i < ATTACHMENTS; i++)
        receive(pool, i);
}

void mappings_enter_worker(void)
{
    for (int i = 0; i < ATTACHMENTS; i++) {
        if (self.seat[i].fd >= 0)
            close(self.seat[i].fd);
        self.seat[i].fd = -1;
    }
}

bool mapping_make(struct pool *pool, uint32_t index)
{
    if (index == 0)
        return true;
    int i = (int)index - 1;
    struct attachment *attachment = &pool->attachment[i];
    uint32_t number = attachment_number(atomic_load(&attachment->word));
    if (self.seat[i].number == number)
        return true;
    if (!map(attachment, i, number, getppid(), atomic_load(&attachment->supervisor_fd))) {
        atomic_store(&pool->no_attachments, 1);
        return false;
    }
    close(self.seat[i].fd);
    self.seat[i].fd = -1;
    return true;
}

void *mapping_memory(struct pool *pool, uint32_t index, uint64_t at)
{
    if (index == 0 || self.pool != pool)
        return (void *)(uintptr_t)at;
    return self.seat[index - 1].start + (at - atomic_load(&pool->attachment[index - 1].start));
}
