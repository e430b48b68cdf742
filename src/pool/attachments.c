/* How the processes of a pool map the memory of managers that were made or opened after they were forked.
 *
 * A manager's heap is a file without a name, or one whose name may be gone: the only way to it is through a descriptor
 * of a process that has it open. So the supervisor opens the caller's descriptor anew, through /proc, maps the file,
 * and keeps a descriptor of its own. Workers open that one anew, map it, and close it. Each process may have the file
 * at another address: shared data holds the caller's address only. The files are opened anew, not shared: so no other
 * process holds the lock of a manager's name for the caller, and a name goes when its users have gone.
 *
 * The supervisor comes first. It runs no tasks, and every worker that it forks from then on inherits what it has
 * mapped. So once the supervisor has an attachment, maps can count on it. A worker may be unable to map the attachment:
 * a task has used up its descriptors or addresses, or has changed the worker's user so that it may not look into the
 * supervisor. Then it ends, and a new worker that has inherited the attachment takes its place. After the first such
 * worker the pool makes no new attachments: maps copy instead. A map also copies if the supervisor cannot map an
 * attachment, for example because there is no /proc or the caller may not be looked into (PR_SET_DUMPABLE 0).
 *
 * The caller removes an attachment when it has closed the manager, or when it wants the place for another attachment;
 * but never while a map uses it. Then it wakes the supervisor and all workers, which unmap the memory: idle workers at
 * once, the others after their task.
 *
 * LOCKS. The pool's mutex guards the table of attachments among the caller's threads. Supervisor and workers take no
 * lock (see struct attachment in task.h).
 *
 * DEATHS. The mappings of a worker end with it. The only word that it writes here is the flag no_attachments. If the
 * supervisor dies, the workers die too. */
#include "pool/attachments.h"

#include "base/clock.h"
#include "base/delay.h"
#include "heap/heap_file.h"
#include "pool/mappings.h"
#include "pool/supervisor_link.h"

#define PATIENCE_NS (500 * MILLISECOND)

static struct attachment *find(struct pool *pool, uint64_t serial)
{
    for (int i = 0; i < ATTACHMENTS; i++) {
        struct attachment *attachment = &pool->attachment[i];

        if (attachment_state(atomic_load(&attachment->word)) != ATTACHMENT_NONE &&
            atomic_load(&attachment->serial) == serial)
            return attachment;
    }
    return NULL;
}

/* Removes an attachment that no map uses. The caller holds the mutex, and releases it with pool_unlock(), which wakes
 * the other processes. */
static void send_away(mp_pool *pool, struct attachment *attachment)
{
    atomic_store(&attachment->word,
                 attachment_number(atomic_load(&attachment->word)) << ATTACHMENT_NUMBER_SHIFT | ATTACHMENT_NONE);
    DELAY_POINT();
    atomic_fetch_add(&pool->shared.attachments_changed, 1);
    pool->to_call = POOL_CALL_ALL;
}

/* Returns a free place. If there is none, removes the attachment that has not been wanted for the longest time. NULL:
 * maps use all of them. The caller holds the mutex. */
static struct attachment *make_place(mp_pool *pool)
{
    struct attachment *oldest = NULL;

    for (int i = 0; i < ATTACHMENTS; i++) {
        struct attachment *attachment = &pool->shared.attachment[i];

        if (attachment_state(atomic_load(&attachment->word)) == ATTACHMENT_NONE)
            return attachment;
        if (attachment->maps == 0 && (oldest == NULL || attachment->used < oldest->used))
            oldest = attachment;
    }
    if (oldest != NULL)
        send_away(pool, oldest);
    return oldest;
}

static struct attachment *make_attachment(mp_pool *pool, const struct heap_file *file, const void *start)
{
    struct attachment *attachment = make_place(pool);

    if (attachment == NULL)
        return NULL;
    atomic_store(&attachment->caller_fd, file->fd);
    atomic_store(&attachment->serial, file->serial);
    atomic_store(&attachment->start, (uint64_t)(uintptr_t)start);
    atomic_store(&attachment->length, file->length);
    atomic_store(&attachment->device, file->device);
    atomic_store(&attachment->inode, file->inode);
    attachment->maps = 0;
    attachment->closed = false;
    uint32_t number = ++pool->attachments_made & (UINT32_MAX >> ATTACHMENT_NUMBER_SHIFT);
    atomic_store(&attachment->word, (number != 0 ? number : 1) << ATTACHMENT_NUMBER_SHIFT | ATTACHMENT_WANTED);
    return attachment;
}

uint32_t attachment_request(mp_pool *pool, const struct heap_file *file, const void *start)
{
    struct pool *shared = &pool->shared;

    pthread_mutex_lock(&pool->mutex);
    struct attachment *attachment = find(shared, file->serial);
    bool is_new = attachment == NULL && atomic_load(&shared->no_attachments) == 0 &&
                  (attachment = make_attachment(pool, file, start)) != NULL;
    if (attachment != NULL) {
        attachment->maps++;
        attachment->used = ++pool->attachments_wanted;
    }
    if (is_new && pool->to_call == POOL_CALL_NOBODY)
        pool->to_call = POOL_CALL_SUPERVISOR;
    pool_unlock(pool);
    if (attachment == NULL)
        return 0;
    /* Only the map that has made the attachment waits; others copy until the answer is there. So a supervisor that is
     * stopped delays one map. The attachment stays, as it is counted in `maps`. */
    if (is_new) {
        uint32_t wanted = (atomic_load(&attachment->word) & ~ATTACHMENT_STATE) | ATTACHMENT_WANTED;

        supervisor_await(pool, &attachment->word, wanted, clock_now() + PATIENCE_NS);
    }
    if (attachment_state(atomic_load(&attachment->word)) == ATTACHMENT_THERE)
        return (uint32_t)(attachment - shared->attachment) + 1;
    pthread_mutex_lock(&pool->mutex);
    attachment_release(pool, (uint32_t)(attachment - shared->attachment) + 1);
    pool_unlock(pool);
    return 0;
}

void attachment_release(mp_pool *pool, uint32_t index)
{
    if (index == 0)
        return;
    struct attachment *attachment = &pool->shared.attachment[index - 1];
    if (--attachment->maps == 0 && attachment->closed)
        send_away(pool, attachment);
}

void attachments_heap_closed(mp_pool *pool, uint64_t serial)
{
    struct attachment *attachment = find(&pool->shared, serial);

    if (attachment == NULL)
        return;
    attachment->closed = true;
    if (attachment->maps == 0)
        send_away(pool, attachment);
}
