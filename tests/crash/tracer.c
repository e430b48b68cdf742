#include "tracer.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define END_MARK 0x6d70 /* no system call has this number */
#define SYSCALL_INSTRUCTION 0x050f
#define SYSCALL_LENGTH 2
#define BREAKPOINT 0xcc
#define BLOCKED_LOOKS 200 /* a process still in its system call after this many looks, 0.2 ms apart, sleeps */

static volatile sig_atomic_t up;

static void ring(int signal)
{
    (void)signal;
    up = 1;
}

void time_limit(unsigned seconds)
{
    struct sigaction action = {.sa_handler = ring}; /* without SA_RESTART: waits are interrupted */

    sigaction(SIGALRM, &action, NULL);
    up = 0;
    alarm(seconds);
}

bool time_is_up(void)
{
    return up != 0;
}

static _Noreturn void give_up(const char *what)
{
    perror(what);
    exit(2);
}

void pin_to_one_cpu(void)
{
    cpu_set_t now, one;
    int cpu = sched_getcpu();

    if (cpu < 0 || sched_getaffinity(0, sizeof now, &now) != 0)
        return;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

/* ---- watching ---- */

void watch_add(struct watch *watch, const void *at, size_t length)
{
    watch->piece = realloc(watch->piece, (watch->count + 1) * sizeof *watch->piece);
    if (watch->piece == NULL)
        give_up("realloc");
    struct piece *piece = &watch->piece[watch->count++];
    *piece = (struct piece){at, calloc(1, length), length};
    if (piece->copy == NULL)
        give_up("calloc");
}

static size_t valid_length(const struct watch *watch, const struct piece *piece)
{
    const char *end = watch->end != NULL ? watch->end() : piece->at + piece->length;

    if (end <= piece->at)
        return 0;
    return (size_t)(end - piece->at) < piece->length ? (size_t)(end - piece->at) : piece->length;
}

void watch_reset(struct watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        struct piece *piece = &watch->piece[i];
        size_t length = valid_length(watch, piece);

        memcpy(piece->copy, piece->at, length);
        memset(piece->copy + length, 0, piece->length - length);
    }
}

void watch_free(struct watch *watch)
{
    for (size_t i = 0; i < watch->count; i++)
        free(watch->piece[i].copy);
    free(watch->piece);
    watch->piece = NULL;
    watch->count = 0;
}

size_t watch_differences(const struct watch *watch)
{
    size_t differences = 0;

    for (size_t i = 0; i < watch->count; i++) {
        const struct piece *piece = &watch->piece[i];
        size_t length = valid_length(watch, piece);

        for (size_t at = 0; at + 8 <= length; at += 8)
            differences += memcmp(piece->at + at, piece->copy + at, 8) != 0;
    }
    return differences;
}

/* ---- what a trace knows: how often each place was reached ---- */

#define TABLE_SIZE 65536

struct arrivals {
    struct watch last; /* shadow of the watch: the state at the last look */
    size_t used;
    struct {
        uint64_t pc;
        uint32_t count, points;
    } place[TABLE_SIZE];
};

static size_t place_of(struct arrivals *arrivals, uint64_t pc)
{
    size_t at = (pc * UINT64_C(0x9e3779b97f4a7c15)) >> 48;

    while (arrivals->place[at].pc != pc) {
        if (arrivals->place[at].pc == 0) {
            arrivals->place[at].pc = pc;
            if (++arrivals->used == TABLE_SIZE)
                give_up("too many places");
            break;
        }
        at = (at + 1) % TABLE_SIZE;
    }
    return at;
}

/* Whether memory differs from its state at the last look. */
static bool changed(struct trace *trace)
{
    struct watch *last = &trace->arrivals->last;
    bool differs = false;

    for (size_t i = 0; i < last->count; i++) {
        struct piece *piece = &last->piece[i];
        size_t length = valid_length(last, piece);

        if (memcmp(piece->at, piece->copy, length) == 0)
            continue;
        memcpy(piece->copy, piece->at, length);
        differs = true;
    }
    return differs;
}

void trace_begin(struct trace *trace, pid_t pid, struct watch *watch)
{
    trace->pid = pid;
    trace->watch = watch;
    trace->steps = 0;
    trace->count = 0;
    trace->point = NULL;
    trace->arrivals = NULL;
}

static void start_looking(struct trace *trace)
{
    const struct watch *watch = trace->watch;

    trace->arrivals = calloc(1, sizeof *trace->arrivals);
    if (trace->arrivals == NULL)
        give_up("calloc");
    if (watch == NULL)
        return;
    struct watch *last = &trace->arrivals->last;
    last->end = watch->end;
    for (size_t i = 0; i < watch->count; i++)
        watch_add(last, watch->piece[i].at, watch->piece[i].length);
    watch_reset(last);
}

void trace_free(struct trace *trace)
{
    if (trace->arrivals != NULL)
        watch_free(&trace->arrivals->last);
    free(trace->arrivals);
    free(trace->point);
    trace->arrivals = NULL;
    trace->point = NULL;
}

static void note_point(struct trace *trace, uint64_t pc, size_t place)
{
    if (trace->record) {
        trace->point = realloc(trace->point, (trace->count + 1) * sizeof *trace->point);
        if (trace->point == NULL)
            give_up("realloc");
        trace->point[trace->count] = (struct point){
            .pc = pc,
            .arrivals = trace->arrivals->place[place].count,
            .differences = trace->watch != NULL ? (uint32_t)watch_differences(trace->watch) : 0,
            .repeats = trace->arrivals->place[place].points++,
        };
    }
    trace->count++;
}

/* ---- stepping ---- */

static uint64_t peek_pc(pid_t pid)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), NULL);
}

/* The process is a fork of this one, so its code can be read here. */
static bool is_syscall(uint64_t pc)
{
    uint16_t code;

    memcpy(&code, (const void *)(uintptr_t)pc, sizeof code);
    return code == SYSCALL_INSTRUCTION;
}

/* Whether it is at the end mark, or at its end. */
static bool at_the_end(pid_t pid)
{
    long number = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rax), NULL);

    return number == END_MARK || number == SYS_exit_group;
}

static char state_of(pid_t pid)
{
    char path[64], line[512] = "";
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (file == NULL)
        return 'X';
    char *end = fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
    fclose(file);
    return end != NULL && end[1] != 0 ? end[2] : 'X';
}

void process_settles(pid_t pid)
{
    const struct timespec pause = {.tv_nsec = 50000};

    /* The state letter of a process that waits for the disk or for a page differs from that of one that waits for a
     * lock. */
    for (int looks = 0; looks < 4 && !time_is_up(); nanosleep(&pause, NULL)) {
        char state = state_of(pid);

        if (state == 'Z' || state == 'X')
            return;
        looks = state == 'S' ? looks + 1 : 0;
    }
}

enum wait_end { WAIT_STOPPED, WAIT_ENDED, WAIT_SLEEPS, WAIT_TIME };

static enum wait_end wait_for(pid_t pid, bool may_block, int *status)
{
    const struct timespec pause = {.tv_nsec = 200000};

    for (int looks = 0;;) {
        pid_t got = waitpid(pid, status, __WALL | (may_block ? WNOHANG : 0));

        if (got == pid)
            return WIFSTOPPED(*status) ? WAIT_STOPPED : WAIT_ENDED;
        if (time_is_up())
            return WAIT_TIME;
        if (got < 0 && errno != EINTR)
            return WAIT_ENDED;
        if (!may_block)
            continue;
        looks = state_of(pid) == 'S' ? looks + 1 : 0;
        if (looks == BLOCKED_LOOKS)
            return WAIT_SLEEPS;
        nanosleep(&pause, NULL);
    }
}

/* Steps one instruction. A signal that arrives is delivered with the next step. */
static enum wait_end step(struct trace *trace, bool may_block, int *signal)
{
    int status;

    if (ptrace(PTRACE_SINGLESTEP, trace->pid, NULL, (long)*signal) != 0)
        return WAIT_ENDED;
    *signal = 0;
    enum wait_end end = wait_for(trace->pid, may_block, &status);
    if (end == WAIT_STOPPED && WSTOPSIG(status) != SIGTRAP)
        *signal = WSTOPSIG(status);
    return end;
}

/* Whether this wait ended the run, and how. */
static bool ends_run(struct trace *trace, enum wait_end wait, enum trace_end *end)
{
    switch (wait) {
    case WAIT_ENDED:
        trace->pid = 0;
        *end = TRACE_GONE;
        return true;
    case WAIT_SLEEPS:
        *end = TRACE_BLOCKED;
        return true;
    case WAIT_TIME:
        *end = TRACE_STUCK;
        return true;
    case WAIT_STOPPED:
        break;
    }
    return false;
}

/* If only system calls count, there is no need to step: the process stops at the entry and at the exit of each call. */
static enum trace_end run_by_calls(struct trace *trace, size_t stop_at)
{
    enum trace_end end;
    int status, signal = 0;

    for (bool inside = false;;) {
        if (ptrace(PTRACE_SYSCALL, trace->pid, NULL, (long)signal) != 0)
            return TRACE_GONE;
        if (ends_run(trace, wait_for(trace->pid, trace->ends_when_blocked, &status), &end))
            return end;
        signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        if (signal != 0)
            continue;
        inside = !inside;
        long number = ptrace(PTRACE_PEEKUSER, trace->pid, offsetof(struct user_regs_struct, orig_rax), NULL);
        if (inside && (number == END_MARK || number == SYS_exit_group))
            return TRACE_FINISHED;
        if (trace->record) {
            uint64_t pc = peek_pc(trace->pid);
            note_point(trace, pc, place_of(trace->arrivals, pc));
        } else {
            trace->count++;
        }
        if (trace->count - 1 == stop_at)
            return TRACE_AT_POINT;
    }
}

enum trace_end trace_run(struct trace *trace, size_t stop_at)
{
    if (trace->watch == NULL) {
        start_looking(trace);
        return run_by_calls(trace, stop_at);
    }
    uint64_t pc = peek_pc(trace->pid);
    bool system_call = is_syscall(pc);
    enum trace_end end;
    int signal = 0;

    start_looking(trace);
    for (;;) {
        if (system_call && at_the_end(trace->pid))
            return TRACE_FINISHED;
        bool may_block = trace->ends_when_blocked && (system_call || trace->steps == 0);
        if (ends_run(trace, step(trace, may_block, &signal), &end))
            return end;
        trace->steps++;
        bool point = system_call;
        pc = peek_pc(trace->pid);
        size_t place = place_of(trace->arrivals, pc);
        trace->arrivals->place[place].count++;
        system_call = is_syscall(pc);
        if (changed(trace))
            point = true;
        if (!point && !(system_call && !at_the_end(trace->pid)))
            continue;
        note_point(trace, pc, place);
        if (trace->count - 1 == stop_at)
            return TRACE_AT_POINT;
    }
}

/* ---- running to a place at full speed ---- */

static bool set_code(pid_t pid, uint64_t pc, long word)
{
    return ptrace(PTRACE_POKETEXT, pid, (void *)(uintptr_t)pc, word) == 0;
}

static bool gone(struct trace *trace)
{
    if (!time_is_up())
        trace->pid = 0;
    return false;
}

bool trace_jump(struct trace *trace, const struct point *point)
{
    long original = ptrace(PTRACE_PEEKTEXT, trace->pid, (void *)(uintptr_t)point->pc, NULL);
    long with_breakpoint = (long)(((unsigned long)original & ~0xffUL) | BREAKPOINT);
    int status, signal = 0;

    for (uint32_t arrivals = 0;;) {
        /* The process may stand at the place already: that does not count as an arrival. */
        if (peek_pc(trace->pid) == point->pc && step(trace, false, &signal) != WAIT_STOPPED)
            return gone(trace);
        set_code(trace->pid, point->pc, with_breakpoint);
        if (ptrace(PTRACE_CONT, trace->pid, NULL, (long)signal) != 0 ||
            wait_for(trace->pid, false, &status) != WAIT_STOPPED)
            return gone(trace);
        signal = WSTOPSIG(status) != SIGTRAP ? WSTOPSIG(status) : 0;
        set_code(trace->pid, point->pc, original);
        if (signal != 0)
            continue;
        ptrace(PTRACE_POKEUSER, trace->pid, offsetof(struct user_regs_struct, rip), point->pc);
        if (++arrivals == point->arrivals)
            return trace->watch == NULL || watch_differences(trace->watch) == point->differences;
    }
}

/* ---- beginning and ending ---- */

void trace_me(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
}

void trace_mark_end(void)
{
    syscall(END_MARK);
}

pid_t traced_child(void (*before)(void), void (*function)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (before != NULL)
            before();
        trace_me();
        function();
        trace_mark_end();
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        give_up("traced child");
    return pid;
}

bool trace_seize(pid_t pid)
{
    int status;

    return ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_EXITKILL) == 0 && ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0 &&
           wait_for(pid, false, &status) == WAIT_STOPPED;
}

static bool is_fork(int status)
{
    return WIFSTOPPED(status) && status >> 8 == (SIGTRAP | PTRACE_EVENT_FORK << 8);
}

pid_t trace_newborn(pid_t parent, void (*cause)(void))
{
    unsigned long newborn = 0;
    int status, signal = 0;

    ptrace(PTRACE_SETOPTIONS, parent, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK);
    ptrace(PTRACE_CONT, parent, NULL, NULL);
    if (cause != NULL)
        cause();
    for (;;) {
        if (wait_for(parent, false, &status) != WAIT_STOPPED)
            return 0;
        if (is_fork(status))
            break;
        signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        ptrace(PTRACE_CONT, parent, NULL, (long)signal);
    }
    ptrace(PTRACE_GETEVENTMSG, parent, NULL, &newborn);
    if (wait_for((pid_t)newborn, false, &status) != WAIT_STOPPED)
        return 0;
    ptrace(PTRACE_SETOPTIONS, (pid_t)newborn, NULL,
           PTRACE_O_EXITKILL); /* it inherits its parent's options, and must not pass them on */
    ptrace(PTRACE_DETACH, parent, NULL, NULL);
    return (pid_t)newborn;
}

int trace_kill(struct trace *trace)
{
    int status = 0;

    if (trace->pid == 0)
        return 0;
    kill(trace->pid, SIGKILL);
    while (waitpid(trace->pid, &status, __WALL) == trace->pid || errno == EINTR) {
        if (WIFEXITED(status) || WIFSIGNALED(status) || time_is_up())
            break;
    }
    trace->pid = 0;
    return status;
}

void trace_release(struct trace *trace, enum trace_end end)
{
    struct __ptrace_peeksiginfo_args first = {.nr = 1};
    siginfo_t info;
    int status;

    if (end == TRACE_GONE)
        return;
    if (end == TRACE_BLOCKED) {
        ptrace(PTRACE_INTERRUPT, trace->pid, NULL, NULL);
        wait_for(trace->pid, false, &status);
        /* The interrupted system call may have left the trap of a step pending, which would kill the process without a
         * tracer. */
        if (ptrace(PTRACE_PEEKSIGINFO, trace->pid, &first, &info) == 1 && info.si_signo == SIGTRAP) {
            ptrace(PTRACE_CONT, trace->pid, NULL, NULL);
            wait_for(trace->pid, false, &status);
        }
    }
    ptrace(PTRACE_DETACH, trace->pid, NULL, NULL);
}
