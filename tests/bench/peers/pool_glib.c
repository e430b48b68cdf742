/* GLib's GThreadPool, exclusive. It has no results: who waits for one is told through a GCond, as its users do it. */
#include <glib.h>
#include <stdlib.h>

#include "../pool_works.h"

struct task {
    crew_task *function;
    const void *arg;
    void *result;
    bool done;
};

static GThreadPool *pool;
static GMutex mutex;
static GCond done;
static const struct task *awaited;

static void run(gpointer data, gpointer user_data)
{
    struct task *task = data;

    (void)user_data;
    task->function(task->arg, task->result);
    g_mutex_lock(&mutex);
    task->done = true;
    if (task == awaited)
        g_cond_signal(&done);
    g_mutex_unlock(&mutex);
}

static void start(int workers)
{
    pool = g_thread_pool_new(run, NULL, workers, TRUE, NULL);
}

static void end(void)
{
    g_thread_pool_free(pool, FALSE, TRUE);
}

static void await(struct task *task)
{
    g_mutex_lock(&mutex);
    awaited = task;
    while (!task->done)
        g_cond_wait(&done, &mutex);
    awaited = NULL;
    g_mutex_unlock(&mutex);
}

static void apply(crew_task *function, const void *arg, size_t arg_size, void *result, size_t result_size)
{
    struct task task = {.function = function, .arg = arg, .result = result};

    (void)arg_size;
    (void)result_size;
    g_thread_pool_push(pool, &task, NULL);
    await(&task);
}

static void each(crew_task *function, const void *args, size_t arg_size, void *results, size_t result_size,
                 size_t count)
{
    struct task *tasks = malloc(count * sizeof *tasks);

    for (size_t i = 0; i < count; i++) {
        tasks[i] = (struct task){.function = function,
                                 .arg = (const char *)args + i * arg_size,
                                 .result = (char *)results + i * result_size};
        g_thread_pool_push(pool, &tasks[i], NULL);
    }
    for (size_t i = 0; i < count; i++)
        await(&tasks[i]);
    free(tasks);
}

int main(int argc, char **argv)
{
    static const struct crew crew = {
        .system = "GThreadPool", .starts = true, .part = 1, .start = start, .end = end, .apply = apply, .each = each};

    bench_begin(argc, argv);
    pool_works(&crew);
    return 0;
}
