/* The pool of threads that one writes oneself: one queue with a mutex and a condition, and one condition for those who
 * wait for a result. Tasks lie in the caller's memory. */
#include <mp.h>
#include <pthread.h>
#include <stdlib.h>

#include "../pool_works.h"

struct task {
    struct task *next;
    crew_task *function;
    const void *arg;
    void *result;
    bool done;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;
static struct task *first, **last = &first;
static const struct task *awaited;
static bool ends;
static pthread_t threads[BENCH_MAX_PROCESSES];
static int thread_count;

static void *run(void *arg)
{
    pthread_mutex_lock(&mutex);
    while (true) {
        while (first == NULL && !ends)
            pthread_cond_wait(&work, &mutex);
        struct task *task = first;
        if (task == NULL)
            break;
        first = task->next;
        if (first == NULL)
            last = &first;
        pthread_mutex_unlock(&mutex);
        task->function(task->arg, task->result);
        pthread_mutex_lock(&mutex);
        task->done = true;
        if (task == awaited)
            pthread_cond_signal(&done);
    }
    pthread_mutex_unlock(&mutex);
    return arg;
}

static void start(int workers)
{
    ends = false;
    thread_count = workers;
    for (int i = 0; i < workers; i++)
        BENCH_CHECK(pthread_create(&threads[i], NULL, run, NULL) ? MP_EAGAIN : 0);
}

static void end(void)
{
    pthread_mutex_lock(&mutex);
    ends = true;
    pthread_cond_broadcast(&work);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < thread_count; i++)
        pthread_join(threads[i], NULL);
}

static void submit(struct task *task)
{
    pthread_mutex_lock(&mutex);
    *last = task;
    last = &task->next;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&mutex);
}

static void await(struct task *task)
{
    pthread_mutex_lock(&mutex);
    awaited = task;
    while (!task->done)
        pthread_cond_wait(&done, &mutex);
    awaited = NULL;
    pthread_mutex_unlock(&mutex);
}

static void apply(crew_task *function, const void *arg, size_t arg_size, void *result, size_t result_size)
{
    struct task task = {.function = function, .arg = arg, .result = result};

    (void)arg_size;
    (void)result_size;
    submit(&task);
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
        submit(&tasks[i]);
    }
    for (size_t i = 0; i < count; i++)
        await(&tasks[i]);
    free(tasks);
}

int main(int argc, char **argv)
{
    static const struct crew crew = {
        .system = "pthread pool", .starts = true, .part = 1, .start = start, .end = end, .apply = apply, .each = each};

    bench_begin(argc, argv);
    pool_works(&crew);
    return 0;
}
