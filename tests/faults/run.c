/* How a system call is made to fail: a seccomp filter, inherited by all children, stops each process that is about to
 * make the call, and the injector decides what the call returns. This works for calls made inside the C library as
 * well, and on every architecture. */
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define RUN_SECONDS 40
#define END_SECONDS 10

int calls_made[LARGEST_CALL];

/* ---- in the process of the part ---- */

static int install_filter(long number)
{
    struct sock_filter one[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_filter all[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendmsg, 0, 1), /* not filtered: it hands us the listener */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    struct sock_fprog program = {4, number >= 0 ? one : all};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

union fd_message {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

static bool send_descriptor(int socket, int fd)
{
    union fd_message control_message;
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control_message, .msg_controllen = sizeof control_message};

    memset(&control_message, 0, sizeof control_message);
    control_message.header =
        (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control_message.header), &fd, sizeof fd);
    return sendmsg(socket, &message, 0) == 1;
}

static int receive_descriptor(int socket)
{
    union fd_message control_message;
    char byte;
    int fd = -1;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control_message, .msg_controllen = sizeof control_message};

    memset(&control_message, 0, sizeof control_message);
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1 && message.msg_controllen >= sizeof control_message)
        memcpy(&fd, CMSG_DATA(&control_message.header), sizeof fd);
    return fd;
}

static int count_heap_mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "re");
    char line[600];
    int count = 0;

    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        count += strstr(line, "memfd:libmp") != NULL || strstr(line, "/dev/shm/") != NULL;
    if (file != NULL)
        fclose(file);
    return count;
}

static int has_children(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

static struct leftovers look(void)
{
    return (struct leftovers){count_descriptors(), has_children(), count_heap_mappings()};
}

static _Noreturn void play(const struct plan *plan, int socket)
{
    struct leftovers before, after;

    setpgid(0, 0);
    if (freopen("/dev/null", "w", stdout) == NULL)
        _exit(2);
    if (plan->storm == STORM_NONE && (plan->call == NULL || plan->call->number >= 0)) {
        int listener = install_filter(plan->call != NULL ? plan->call->number : -1);

        if (listener < 0 || !send_descriptor(socket, listener))
            _exit(2);
        close(listener);
    }
    close(socket);
    before = look();
    if (plan->storm != STORM_NONE)
        storm_begin(plan->storm == STORM_RESTART);
    atomic_store(&control->armed, 1);
    plan->part->run();
    if (!plan->part->goes_on) {
        atomic_store(&control->armed, 0);
        after = look();
        control->left = (struct leftovers){after.descriptors - before.descriptors, after.children - before.children,
                                           after.mappings - before.mappings};
    }
    exit(0);
}

/* ---- in the injector ---- */

struct watch {
    const struct plan *plan;
    pid_t pid;
    int listener; /* -1: none, or closed by now */
    int status;   /* of the process, once it has ended */
    bool ended;
};

static void answer(struct watch *w)
{
    struct seccomp_notif question;
    struct seccomp_notif_resp reply;
    const struct call *call = w->plan->call;

    memset(&question, 0, sizeof question);
    memset(&reply, 0, sizeof reply);
    if (ioctl(w->listener, SECCOMP_IOCTL_NOTIF_RECV, &question) != 0)
        return; /* the process was killed meanwhile */
    reply.id = question.id;
    reply.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    if (call == NULL) {
        if (question.data.nr >= 0 && question.data.nr < LARGEST_CALL && atomic_load(&control->armed) &&
            atomic_load(&control->paused) == 0)
            calls_made[question.data.nr]++;
    } else if ((call->concerns == NULL || call->concerns(&question.data)) && fault_due()) {
        reply.flags = 0;
        reply.error = question.data.nr == SYS_brk ? 0 : -w->plan->number;
    }
    if (ioctl(w->listener, SECCOMP_IOCTL_NOTIF_SEND, &reply) != 0 && reply.flags == 0)
        atomic_fetch_sub(&control->failed, 1); /* a signal came first: the call is restarted, and must count once */
}

/* Reaps all ended children: the process itself, and its orphans, which this process inherits. */
static void reap_all(struct watch *w)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == w->pid) {
            w->ended = true;
            w->status = status;
        }
    }
}

/* Whether a process of the run's process group is left. */
static bool group_lives(pid_t group)
{
    return kill(-group, 0) == 0;
}

static void kill_group(struct watch *w)
{
    double deadline = now() + END_SECONDS;

    while (group_lives(w->pid) && now() < deadline) {
        kill(-w->pid, SIGKILL);
        reap_all(w);
        pause_us(1000);
    }
    if (!w->ended) {
        kill(w->pid, SIGKILL);
        waitpid(w->pid, &w->status, 0);
        w->ended = true;
    }
}

static void watch_run(struct watch *w)
{
    double deadline = now() + RUN_SECONDS;

    while (now() < deadline) {
        struct pollfd set = {.fd = w->listener, .events = POLLIN};

        poll(&set, 1, w->ended ? 1 : w->listener >= 0 ? 20 : 1);
        if (set.revents & POLLIN)
            answer(w);
        else if (set.revents != 0) /* no process with the filter is left */
            close(w->listener), w->listener = -1;
        bool before = w->ended;
        if (!(set.revents & POLLIN))
            reap_all(w);
        if (w->ended && !before && deadline > now() + END_SECONDS)
            deadline = now() + END_SECONDS;
        if (w->ended && !group_lives(w->pid))
            return;
    }
    complain("%s", w->ended ? "processes are left behind" : "it hangs");
}

/* Checks that no name is left. A sticky fault may leave a stale name, which has to make way for a new object. */
static void check_names(bool may_be_stale)
{
    struct dirent *entry;
    char prefix[64];
    DIR *directory = opendir("/dev/shm");

    snprintf(prefix, sizeof prefix, "libmp-%lu-faults-%d-", (unsigned long)geteuid(), (int)getpid());
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        int fd = openat(dirfd(directory), entry->d_name, O_RDWR | O_CLOEXEC);
        bool stale = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
        if (!stale || !may_be_stale)
            complain("%s is left, %s", entry->d_name, stale ? "stale" : "locked");
        unlinkat(dirfd(directory), entry->d_name, 0);
        if (fd >= 0)
            close(fd);
    }
    if (directory != NULL)
        closedir(directory);
}

static void judge(struct watch *w)
{
    const struct plan *plan = w->plan;
    const struct leftovers *left = &control->left, *allowed = &plan->allowed_left;

    if (WIFSIGNALED(w->status))
        complain("the process was killed by signal %d", WTERMSIG(w->status));
    else if (WEXITSTATUS(w->status) != 0)
        complain("the process ended with %d", WEXITSTATUS(w->status));
    if (left->descriptors > allowed->descriptors || left->children > allowed->children ||
        left->mappings > allowed->mappings)
        complain("left behind: %d descriptors (%d), %d children, %d mappings (%d)", left->descriptors,
                 allowed->descriptors, left->children, left->mappings, allowed->mappings);
    check_names(plan->sticky);
}

static void reset(const struct plan *plan)
{
    memset(control, 0, sizeof *control);
    atomic_flag_clear(&control->complained);
    control->number = plan->number;
    control->at = plan->at;
    control->sticky = plan->sticky;
    if (plan->call != NULL)
        atomic_store(&control->function, (int)plan->call->function);
}

void run(const struct plan *plan, struct outcome *outcome)
{
    struct watch w = {.plan = plan, .listener = -1};
    int sockets[2];

    reset(plan);
    memset(outcome, 0, sizeof *outcome);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
        snprintf(outcome->complaint, sizeof outcome->complaint, "no sockets");
        return;
    }
    fflush(NULL);
    w.pid = fork();
    if (w.pid == 0) {
        close(sockets[0]);
        play(plan, sockets[1]);
    }
    close(sockets[1]);
    setpgid(w.pid, w.pid);
    if (plan->storm == STORM_NONE && (plan->call == NULL || plan->call->number >= 0))
        w.listener = receive_descriptor(sockets[0]);
    close(sockets[0]);
    watch_run(&w);
    kill_group(&w);
    if (w.listener >= 0)
        close(w.listener);
    judge(&w);
    outcome->failed = atomic_load(&control->failed);
    outcome->count = atomic_load(&control->count);
    outcome->left = control->left;
    memcpy(outcome->complaint, control->complaint, sizeof control->complaint);
    outcome->good = control->complaint[0] == '\0';
}

bool run_prepare(void)
{
    struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {1, nothing};
    int status = -1;

    control = shared_memory(sizeof *control);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        _exit(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program) >= 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    if (status != 0)
        printf("SKIPPED: this system does not let a program answer system calls (seccomp's user notification)\n");
    return status == 0;
}
