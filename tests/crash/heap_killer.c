#include "heap_killer.h"

#include <fcntl.h>
#include <mp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap/heap_check.h"
#include "heap/heap_file.h"
#include "tracer.h"

#define SECONDS 60 /* limit for one run; one that takes longer hangs */
/* A heap up to this size is watched and restored as a whole. Of a larger one, only the allocator's own words are. */
#define WATCH_ALL (UINT64_C(4) << 20)
#define WATCH_FIRST (UINT64_C(128) * 1024)
#define STATE_SIZE ((size_t)4 << 20)
#define MOST_FAILURES 5
/* One kill in WAITER_EVERY is also run with a waiter. Operations with few points have a waiter at every point. */
#define WAITER_EVERY 4
#define FEW 12
#define WAITS_FOR 12 /* points */
/* Recoveries that are killed after one victim. */
#define RECOVERIES_EACH 6

/* ---- what siblings report ---- */

/* Shared with the siblings. */
struct report {
    char problem[1000];
    double longest;
    char call[80];
    size_t length;
    char state[STATE_SIZE];
};

static struct report *report;

void report_state(const char *text)
{
    size_t length = strlen(text);

    if (length >= STATE_SIZE - report->length) {
        report_problem("the state is too long for the report");
        return;
    }
    memcpy(report->state + report->length, text, length + 1);
    report->length += length;
}

void report_duration(const char *call, double seconds)
{
    if (seconds <= report->longest)
        return;
    report->longest = seconds;
    snprintf(report->call, sizeof report->call, "%.*s", (int)strcspn(call, "("), call);
}

void report_problem(const char *format, ...)
{
    va_list arguments;

    if (report->problem[0] != 0)
        return;
    va_start(arguments, format);
    vsnprintf(report->problem, sizeof report->problem, format, arguments);
    va_end(arguments);
}

static void make_report(void)
{
    if (report == NULL)
        report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    report->problem[0] = report->state[0] = 0;
    report->length = 0;
    report->longest = 0;
}

/* ---- images of the heap ---- */

struct image {
    char *bytes;
    size_t size; /* of the file */
};

static struct {
    struct heap *heap;
    int fd;
    const struct scene *scene;
    struct watch watch;
    struct image base;
} field;

/* Copies what can have changed. Once there is a watch, that is the memory it covers. */
static void image_copy(char *to, const char *from, size_t size)
{
    for (size_t i = 0; i < field.watch.count; i++) {
        size_t at = (size_t)(field.watch.piece[i].at - (const char *)field.heap), length = field.watch.piece[i].length;

        if (at < size)
            memcpy(to + at, from + at, length < size - at ? length : size - at);
    }
    if (field.watch.count == 0)
        memcpy(to, from, size);
}

static void image_save(struct image *image)
{
    struct stat file;

    fstat(field.fd, &file);
    image->size = (size_t)file.st_size;
    image->bytes = calloc(image->size, 1);
    image_copy(image->bytes, (const char *)field.heap, image->size);
}

static void image_restore(const struct image *image)
{
    if (ftruncate(field.fd, (off_t)image->size) != 0)
        abort();
    image_copy((char *)field.heap, image->bytes, image->size);
}

/* ---- what is watched ---- */

static const char *end_of_heap(void)
{
    return (const char *)field.heap + atomic_load(&field.heap->size);
}

/* Pages that hold the heap's bookkeeping before or after the operation. */
static struct {
    unsigned char *wanted;
    size_t count;
} pages;

static void want_edges(uint64_t offset, uint64_t size)
{
    const uint64_t at[] = {offset - 16, offset, offset + size - 16, offset + size};

    for (size_t i = 0; i < 4; i++)
        pages.wanted[at[i] / HEAP_PAGE] = 1;
}

static void note_edges(void)
{
    uint64_t end = atomic_load(&field.heap->size);
    size_t count = end / HEAP_PAGE + 1;

    if (count > pages.count) {
        pages.wanted = realloc(pages.wanted, count);
        memset(pages.wanted + pages.count, 0, count - pages.count);
        pages.count = count;
    }
    pages.wanted[(end - 1) / HEAP_PAGE] = 1;
    uint64_t *starts = calloc(end / 1024 + 1, sizeof *starts), blocks;
    heap_lock(field.heap);
    heap_check(field.heap, starts, &blocks);
    for (uint64_t offset = 16; offset < end; offset += 16) {
        if (heap_bit_clear(starts, offset))
            want_edges(offset, heap_block_size(field.heap, offset) + 8);
    }
    heap_unlock(field.heap);
    free(starts);
}

/* Called after the operation was done, when the heap is as large as it gets. A small heap is watched as a whole. In a
 * larger one only the pages with bookkeeping are watched: the inside of large blocks does not matter. */
static void choose_watch(void)
{
    uint64_t end = atomic_load(&field.heap->size);

    note_edges();
    field.watch.end = end_of_heap;
    if (end <= WATCH_ALL)
        watch_add(&field.watch, field.heap, end);
    for (size_t i = 0; i < pages.count && end > WATCH_ALL; i++) {
        if (pages.wanted[i] || i < WATCH_FIRST / HEAP_PAGE)
            watch_add(&field.watch, (char *)field.heap + i * HEAP_PAGE, HEAP_PAGE);
    }
    free(pages.wanted);
    pages.wanted = NULL;
    pages.count = 0;
}

/* ---- processes ---- */

/* Runs a function in a child process and waits for its end. False: the child was killed, or took too long. */
static bool run_sibling(void (*function)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(SECONDS);
        function();
        _exit(0);
    }
    while (waitpid(pid, &status, 0) != pid)
        ;
    if (WIFSIGNALED(status))
        report_problem(WTERMSIG(status) == SIGALRM ? "a process hangs (signal %d)" : "a process died of signal %d",
                       WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct states {
    char *text[3]; /* the first is the state before the operation */
    size_t count;
    bool of_readers; /* the states are what readers report, not what the checker finds */
};

/* The length of one part of a state: up to and with the form feed that ends it, or to the end of the text. */
static size_t part_length(const char *text)
{
    return strcspn(text, "\f") + (strchr(text, '\f') != NULL);
}

/* Part number `part` of a state. */
static const char *part_of(const struct states *states, size_t state, size_t part)
{
    const char *known = states->text[state];

    for (size_t skipped = 0; skipped < part; skipped++)
        known += part_length(known);
    return known;
}

/* Whether the text is a beginning of `from` directly followed by an end of `to`. */
static bool goes_over(const char *text, const char *from, const char *to)
{
    size_t length = part_length(text), from_length = part_length(from), to_length = part_length(to);
    size_t begin = 0, end = 0;

    while (begin < length && begin < from_length && text[begin] == from[begin])
        begin++;
    while (end < length && end < to_length && text[length - 1 - end] == to[to_length - 1 - end])
        end++;
    return begin + end >= length;
}

/* Whether a part equals part number `part` of one of the states. A reader's part may also begin like the state before
 * and end like a later one, because readers reclaim what they find dead. */
static bool part_is_known(const struct states *states, const char *text, size_t part)
{
    for (size_t i = 0; i < states->count; i++) {
        const char *known = part_of(states, i, part);

        if (part_length(known) == part_length(text) && memcmp(known, text, part_length(text)) == 0)
            return true;
        if (states->of_readers && goes_over(text, part_of(states, 0, part), known))
            return true;
    }
    return false;
}

static bool is_known(const struct states *states)
{
    const char *text = report->state;

    for (size_t part = 0; part == 0 || *text != 0; part++, text += part_length(text)) {
        if (!part_is_known(states, text, part))
            return false;
    }
    return true;
}

static const char *cut(const char *text)
{
    static char buffer[400];

    snprintf(buffer, sizeof buffer, "%.380s%s", text, strlen(text) > 380 ? "..." : "");
    return buffer;
}

/* What a sibling finds wrong, or NULL. */
static const char *find(void (*function)(void), const struct states *states)
{
    make_report();
    run_sibling(function);
    if (report->problem[0] == 0 && states != NULL && !is_known(states))
        report_problem("the content is neither that of before nor that of after: %s", cut(report->state));
    return report->problem[0] != 0 ? report->problem : NULL;
}

static const char *inspect(const struct states *states)
{
    return find(field.scene->inspect, states);
}

/* ---- the run ---- */

/* A function that is stepped, and the image that it starts from. */
struct walk {
    void (*function)(void);
    const struct image *image;
    struct trace trace;
};

static void start(struct walk *walk)
{
    image_restore(walk->image);
    watch_reset(&field.watch);
    pid_t pid = traced_child(NULL, walk->function);
    trace_begin(&walk->trace, pid, &field.watch);
}

/* Finds all points. */
static bool discover(struct walk *walk)
{
    time_limit(SECONDS * 4);
    start(walk);
    walk->trace.record = true;
    enum trace_end end = trace_run(&walk->trace, SIZE_MAX);
    trace_kill(&walk->trace);
    return end == TRACE_FINISHED;
}

/* Brings the process to a point in a fresh run, and leaves it stopped there. */
static struct walk stop_at(const struct walk *found, size_t point, struct tally *tally)
{
    struct walk walk = {.function = found->function, .image = found->image};

    time_limit(SECONDS);
    start(&walk);
    if (!trace_jump(&walk.trace, &found->trace.point[point])) {
        /* This run took another path (the process id has another number of digits, say). */
        trace_kill(&walk.trace);
        start(&walk);
        trace_run(&walk.trace, point);
        tally->stepped++;
    }
    return walk;
}

/* Kills the process at a point. */
static void kill_at(const struct walk *found, size_t point, struct tally *tally)
{
    struct walk walk = stop_at(found, point, tally);

    trace_kill(&walk.trace);
    trace_free(&walk.trace);
}

/* Others read while the process is stopped at the point. They read once more after it was killed there, before anybody
 * has repaired anything. */
static void read_beside(const struct operation *operation, const struct walk *found, size_t point,
                        const struct states *states, struct tally *tally)
{
    struct walk walk = stop_at(found, point, tally);

    for (int dead = 0; dead < 2; dead++) {
        const char *problem = find(field.scene->read, states);

        if (problem != NULL)
            failed(tally, operation, point, -1, found->trace.point[point].pc, problem);
        if (report->longest > tally->longest) {
            tally->longest = report->longest;
            memcpy(tally->call, report->call, sizeof tally->call);
        }
        trace_kill(&walk.trace);
    }
    trace_free(&walk.trace);
    tally->killed++;
}

static pid_t start_reuse(pid_t victim)
{
    pid_t pid = fork();

    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(SECONDS);
        field.scene->reuse(victim);
        _exit(0);
    }
    process_settles(pid);
    return pid;
}

/* While the process is stopped at the point, others go on as far as they can without it. Then it is killed. */
static void stop_run_kill(const struct operation *operation, const struct walk *found, size_t point,
                          const struct states *states, struct tally *tally)
{
    struct walk walk = stop_at(found, point, tally);
    int status = 0;

    make_report();
    pid_t other = start_reuse(walk.trace.pid);
    trace_kill(&walk.trace);
    trace_free(&walk.trace);
    while (waitpid(other, &status, 0) != other)
        ;
    if (status != 0)
        report_problem("somebody beside the stopped one hangs, or dies (status %d)", status);
    else if (report->problem[0] == 0)
        run_sibling(field.scene->take_away);
    const char *problem = report->problem[0] != 0 ? report->problem : inspect(states);
    if (problem != NULL)
        failed(tally, operation, point, -1, found->trace.point[point].pc, problem);
    tally->killed++;
}

static pid_t start_waiter(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(SECONDS);
        field.scene->recover();
        _exit(0);
    }
    process_settles(pid);
    return pid;
}

/* Like kill_at(), but with a waiter: it starts some points before the victim dies, wants the locks that the victim
 * holds, and sleeps until it gets them. Returns what is wrong then, or NULL. */
static const char *kill_with_waiter(const struct walk *found, size_t point, const struct states *states)
{
    struct walk walk = {.function = found->function, .image = found->image};
    size_t from = point > 2 * WAITS_FOR ? point - WAITS_FOR : point / 2;
    int status = 0;

    time_limit(SECONDS);
    start(&walk);
    bool there = trace_jump(&walk.trace, &found->trace.point[from]);
    pid_t waiter = start_waiter();
    if (there && point > from)
        trace_run(&walk.trace, point - from - 1);
    trace_kill(&walk.trace);
    trace_free(&walk.trace);
    while (waitpid(waiter, &status, 0) != waiter)
        ;
    const char *problem = inspect(states);
    if (status == 0)
        return problem;
    report_problem("somebody who waited for the dead one hangs, or dies (status %d)", status);
    return report->problem;
}

/* Kills the processes that recover after the victim, at points of their recovery. */
static void kill_recoveries(const struct operation *operation, size_t point, size_t most, const struct plan *plan,
                            const struct states *states, struct tally *tally)
{
    struct image crash = {NULL, 0};
    image_save(&crash);
    struct walk recovery = {.function = field.scene->recover, .image = &crash};

    if (!discover(&recovery))
        failed(tally, operation, point, 0, 0, "the recovery does not end");
    size_t count = recovery.trace.count < most ? recovery.trace.count : most;
    for (size_t i = 0; i < count && tally->failures < MOST_FAILURES; i++) {
        /* Each victim is followed by a different choice of points. */
        size_t at = (chosen(i, most, recovery.trace.count) + tally->killed) % recovery.trace.count;

        if (plan->recovery >= 0)
            at = (size_t)plan->recovery;
        if (at >= recovery.trace.count)
            break;
        kill_at(&recovery, at, tally);
        tally->recoveries++;
        const char *problem = inspect(states);
        if (problem != NULL)
            failed(tally, operation, point, (long)at, recovery.trace.point[at].pc, problem);
        if (plan->recovery >= 0)
            break;
    }
    trace_free(&recovery.trace);
    free(crash.bytes);
}

/* Chooses the points to kill at. Points in code that is reached again and again (copying loops) get at most a quarter
 * of the places. */
static size_t choose_points(const struct trace *trace, size_t most, size_t *choice)
{
    size_t plain = 0, count = 0;

    if (trace->count <= most) {
        for (size_t i = 0; i < trace->count; i++)
            choice[count++] = i;
        return count;
    }
    for (size_t i = 0; i < trace->count; i++)
        plain += trace->point[i].repeats < 4;
    size_t loops = trace->count - plain < most / 4 ? trace->count - plain : most / 4;
    size_t share = plain < most - loops ? plain : most - loops;
    for (int repeated = 0; repeated < 2; repeated++) {
        size_t total = repeated ? trace->count - plain : plain, wanted = repeated ? most - share : share, next = 0;

        for (size_t i = 0, seen = 0; i < trace->count && next < wanted && total > 0; i++) {
            if ((trace->point[i].repeats >= 4) != repeated)
                continue;
            if (seen++ == chosen(next, wanted, total)) {
                choice[count++] = i;
                next++;
            }
        }
    }
    return count;
}

/* All runs for one point. */
static void kill_one(const struct operation *operation, const struct walk *victim, size_t point, size_t recoveries,
                     bool waiter, const struct plan *plan, const struct states *states, struct tally *tally)
{
    if (plan->stop) {
        read_beside(operation, victim, point, states, tally);
        return;
    }
    if (plan->reuse) {
        stop_run_kill(operation, victim, point, states, tally);
        return;
    }
    kill_at(victim, point, tally);
    tally->killed++;
    if (recoveries > 0) {
        kill_recoveries(operation, point, recoveries, plan, states, tally);
        kill_at(victim, point, tally);
    }
    const char *problem = inspect(states);
    if (problem == NULL && waiter) {
        problem = kill_with_waiter(victim, point, states);
        tally->waiters++;
    }
    if (problem != NULL)
        failed(tally, operation, point, -1, victim->trace.point[point].pc, problem);
}

static void kill_at_points(const struct operation *operation, const struct plan *plan, const struct walk *victim,
                           const struct states *states, struct tally *tally)
{
    size_t total = victim->trace.count, most = plan->points < total ? plan->points : total;
    size_t *choice = calloc(total + 1, sizeof *choice);
    size_t count = choose_points(&victim->trace, most, choice);
    /* An operation releases its locks near its end, so half of the choice is the last points. */
    for (size_t i = count / 2; plan->reuse && i < count; i++)
        choice[i] = total - (count - i);
    /* Recoveries are killed after some of the victims, a few points of each. When all recoveries are asked for, all
     * points after every victim. */
    bool all = plan->recoveries == SIZE_MAX;
    size_t victims = (plan->recoveries + RECOVERIES_EACH - 1) / RECOVERIES_EACH;
    size_t every = all ? 1 : victims == 0 ? SIZE_MAX : count / victims + 1;

    for (size_t i = 0; i < count && tally->failures < MOST_FAILURES; i++) {
        bool recover = every != SIZE_MAX && i % every == every / 2;

        kill_one(operation, victim, choice[i], recover ? all ? SIZE_MAX : RECOVERIES_EACH : 0,
                 i % WAITER_EVERY == 0 || total <= FEW, plan, states, tally);
    }
    free(choice);
}

/* Only the point that was asked for. */
static void kill_at_point(const struct operation *operation, const struct plan *plan, const struct walk *victim,
                          const struct states *states, struct tally *tally)
{
    if ((size_t)plan->point < victim->trace.count)
        kill_one(operation, victim, (size_t)plan->point, plan->recovery >= 0 ? SIZE_MAX : 0, plan->recovery < 0, plan,
                 states, tally);
}

/* Records the state after a function ran to its end without being killed. */
static void learn_state(const struct operation *operation, void (*function)(void), bool stop, struct states *states,
                        struct tally *tally)
{
    image_restore(&field.base);
    make_report();
    if (function != NULL && !run_sibling(function)) {
        failed(tally, operation, 0, -1, 0, report->problem);
        return;
    }
    if (function == operation->operate)
        choose_watch();
    const char *problem = find(stop ? field.scene->read : field.scene->inspect, NULL);
    if (problem != NULL)
        failed(tally, operation, 0, -1, 0, problem);
    states->text[states->count++] = strdup(report->state);
}

static void explore(const struct operation *operation, const struct plan *plan, struct tally *tally)
{
    struct states states = {.count = 0, .of_readers = plan->stop};
    struct walk victim = {.function = operation->operate, .image = &field.base};

    note_edges();
    image_save(&field.base);
    learn_state(operation, NULL, plan->stop, &states, tally);
    learn_state(operation, operation->operate, plan->stop, &states, tally);
    if (operation->also != NULL)
        learn_state(operation, operation->also, plan->stop, &states, tally);
    if (tally->failures == 0) {
        if (!discover(&victim))
            failed(tally, operation, victim.trace.count, -1, 0, "the operation does not end");
        tally->points = victim.trace.count;
        if (tally->failures == 0)
            (plan->point >= 0 ? kill_at_point : kill_at_points)(operation, plan, &victim, &states, tally);
        trace_free(&victim.trace);
    }
    for (size_t i = 0; i < states.count; i++)
        free(states.text[i]);
}

/* ---- dirty memory ---- */

#define DIRT 0x4a
#define DIRTY_BYTES (UINT64_C(64) * 1024)

/* Fills all free blocks, except for the allocator's own words. */
static void make_dirty(struct heap *heap)
{
    for (uint64_t block = (sizeof *heap + 15) / 16 * 16 + 16; block < atomic_load(&heap->size);) {
        const uint64_t *header = heap_at(heap, block - 8);
        uint64_t size = *header & ~UINT64_C(15);

        if ((*header & 1) != 0 && size > 40)
            memset(heap_at(heap, block + 24), DIRT, size - 40);
        block += size;
    }
}

void make_room_dirty(struct heap *heap)
{
    if (heap_alloc(heap, DIRTY_BYTES, &heap->under_construction) != 0)
        abort();
    heap_free(heap, &heap->under_construction);
    if (heap_lock(heap) != 0)
        abort();
    make_dirty(heap);
    heap_unlock(heap);
}

void heap_killer_run(const struct scene *scene, const struct operation *operation, const struct plan *plan,
                     struct tally *tally)
{
    field.scene = scene;
    field.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(field.fd); /* the heap's file gets this descriptor number */
    field.heap = scene->create();
    if (plan->dirty)
        make_room_dirty(field.heap);
    if (operation->prepare != NULL)
        operation->prepare();
    if (plan->dirty)
        make_dirty(field.heap);
    explore(operation, plan, tally);
    watch_free(&field.watch);
    free(field.base.bytes);
    field.base.bytes = NULL;
    scene->destroy();
    time_limit(0);
}
