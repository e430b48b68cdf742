/* What happens when the system reaches its limits: the library gives errors and never signals, existing content stays
 * whole, and everything works again once the limit is gone. Each test runs in a child of its own, because some limits
 * cannot be taken back. */
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

#define MIB ((size_t)1 << 20)
#define NOBODY 65534
enum { SKIPPED = 77 };

static int skip_loudly(const char *what)
{
    fprintf(stderr, "SKIPPED: %s (%s)\n", what, strerror(errno));
    return SKIPPED;
}

/* Runs a body in a child, which must exit by itself, with 0. Exit code 77 skips the test. */
static void in_child(int (*body)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(120);
        exit(body());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        fail_msg("killed by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) == SKIPPED)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static struct rlimit set_limit(int resource, rlim_t soft)
{
    struct rlimit before, now;

    MUST(getrlimit((__rlimit_resource_t)resource, &before) == 0);
    now = before;
    now.rlim_cur = soft < before.rlim_max ? soft : before.rlim_max;
    MUST(setrlimit((__rlimit_resource_t)resource, &now) == 0);
    return before;
}

static void restore_limit(int resource, const struct rlimit *before)
{
    MUST(setrlimit((__rlimit_resource_t)resource, before) == 0);
}

/* ---- things to try under a limit ---- */

static char block[MIB];

/* Adds numbered values of 1 MiB each until one is refused, which must be with MP_ENOMEM. Returns the number after the
 * last. */
static int64_t fill(mp_dict *dict, int64_t from, int64_t most)
{
    for (int64_t i = from; i < most; i++) {
        memset(block, (int)(i % 251), sizeof block);
        int error = mp_dict_set(dict, mp_value_int(i), mp_value_bytes(block, sizeof block));
        MUST(error == 0 || error == MP_ENOMEM);
        if (error != 0)
            return i;
    }
    return most;
}

static void must_hold(mp_manager *manager, mp_dict *dict, int64_t count)
{
    size_t length;

    MUST(mp_manager_check(manager) == 0);
    MUST(mp_dict_length(dict, &length) == 0 && (int64_t)length == count);
    for (int64_t i = 0; i < count; i++) {
        mp_value value;

        MUST(mp_dict_get(dict, mp_value_int(i), &value) == 0 && value.size == sizeof block);
        for (size_t k = 0; k < sizeof block; k += 4096)
            MUST(((const unsigned char *)value.as.bytes)[k] == i % 251);
        mp_value_free(&value);
    }
}

static void empty(mp_dict *dict, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        MUST(mp_dict_remove(dict, mp_value_int(i)) == 0);
}

static int exit_seven(void *arg)
{
    (void)arg;
    return 7;
}

/* Each of these functions makes one thing, uses it and releases it. Returns 0, or the error that making it gave. */
static int use_manager(void)
{
    mp_manager *manager;
    mp_dict *root;
    int error = mp_manager_create(&manager, NULL);

    if (error != 0)
        return error;
    MUST(mp_manager_root(manager, &root) == 0 && mp_dict_set_int(root, "a", 1) == 0);
    MUST(mp_manager_free(manager) == 0);
    return 0;
}

static const char *own_name(void)
{
    static char name[40];

    snprintf(name, sizeof name, "limits-%d", (int)getpid());
    return name;
}

static bool own_name_is_left(void)
{
    char path[100];

    snprintf(path, sizeof path, "/dev/shm/libmp-%lu-%s", (unsigned long)geteuid(), own_name());
    return access(path, F_OK) == 0;
}

static int use_named_manager(void)
{
    mp_manager *manager;
    const mp_manager_options options = {.name = own_name()};

    int error = mp_manager_create(&manager, &options);
    if (error == 0)
        MUST(mp_manager_free(manager) == 0);
    return error;
}

static int use_named_lock(void)
{
    mp_lock *lock;
    int error = mp_lock_open(&lock, own_name(), NULL);

    if (error == 0)
        MUST(mp_lock_acquire(lock, 1) == 0 && mp_lock_release(lock) == 0 && mp_lock_free(lock) == 0);
    return error;
}

static int use_lock(void)
{
    mp_lock *lock;
    int error = mp_lock_create(&lock, NULL);

    if (error == 0)
        MUST(mp_lock_acquire(lock, 1) == 0 && mp_lock_release(lock) == 0 && mp_lock_free(lock) == 0);
    return error;
}

static int use_process(void)
{
    mp_process *process;
    int code;
    int error = mp_process_start(&process, exit_seven, NULL, NULL);

    if (error != 0)
        return error;
    MUST(mp_process_join(process, 60) == 0 && mp_process_exitcode(process, &code) == 0 && code == 7);
    MUST(mp_process_free(process) == 0);
    return 0;
}

static int use_pool(void)
{
    mp_pool *pool;
    int x = 9, y = 0;
    int error = mp_pool_create(&pool, 2, NULL);

    if (error != 0)
        return error;
    error = mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y);
    MUST(error == MP_ENOMEM || (error == 0 && y == 81));
    MUST(mp_pool_free(pool) == 0);
    return error;
}

static int (*const uses[])(void) = {use_manager, use_named_manager, use_named_lock, use_lock, use_process, use_pool};
enum { USES = sizeof uses / sizeof *uses };

/* Tries everything. Each use must work, or fail with one of two errors. Returns how many worked. */
static int use_all(int error_1, int error_2)
{
    int good = 0;

    for (int i = 0; i < USES; i++) {
        int error = uses[i]();

        if (error != 0 && error != error_1 && error != error_2)
            fprintf(stderr, "use %d: %s\n", i, mp_strerror(error));
        MUST(error == 0 || error == error_1 || error == error_2);
        good += error == 0;
        errno = 0;
    }
    return good;
}

/* ---- the limits ---- */

static size_t address_space(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;

    MUST(file != NULL && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static int little_address_space(void)
{
    mp_manager *manager, *other;
    mp_dict *root;
    mp_manager_info info;

    struct rlimit before = set_limit(RLIMIT_AS, address_space() + 64 * MIB);
    MUST(mp_manager_create(&manager, NULL) == 0 && mp_manager_root(manager, &root) == 0);
    MUST(mp_manager_get_info(manager, &info) == 0 && info.limit <= 64 * MIB);
    int64_t count = fill(root, 0, 1000);
    MUST(count > 0 && count < 64);
    restore_limit(RLIMIT_AS, &before);
    must_hold(manager, root, count);
    /* From no memory at all up to more than enough. */
    for (size_t room = 0; room < 4 * MIB; room += 200000) {
        before = set_limit(RLIMIT_AS, address_space() + room);
        use_all(MP_ENOMEM, MP_EAGAIN);
        restore_limit(RLIMIT_AS, &before);
    }
    must_hold(manager, root, count);
    MUST(use_all(0, 0) == USES);
    MUST(mp_manager_create(&other, NULL) == 0 && mp_manager_get_info(other, &info) == 0 && info.limit > 64 * MIB);
    MUST(mp_manager_free(other) == 0);
    empty(root, count);
    MUST(fill(root, 0, count) == count);
    MUST(mp_manager_free(manager) == 0);
    return 0;
}

static void address_space_runs_out(void **state)
{
    (void)state;
    in_child(little_address_space);
}

/* An item that could not be handed out for lack of memory is handed out later; no item is skipped. */
static int iteration_without_memory(void)
{
    mp_manager *manager;
    mp_dict_iter *iter;
    mp_dict *dict;
    mp_value key, value;
    int64_t next = 0;
    int error;

    MUST(mp_manager_create(&manager, NULL) == 0 && mp_manager_dict(manager, &dict) == 0);
    for (int64_t i = 0; i < 200; i++)
        MUST(mp_dict_set(dict, mp_value_int(i), i == 100 ? mp_value_bytes(block, sizeof block) : mp_value_int(i)) == 0);
    MUST(mp_dict_iter_create(&iter, dict) == 0);
    struct rlimit before = set_limit(RLIMIT_AS, address_space());
    while ((error = mp_dict_next(iter, &key, &value)) == 0)
        MUST(key.as.integer == next++);
    MUST(error == MP_ENOMEM && next <= 100);
    restore_limit(RLIMIT_AS, &before);
    while ((error = mp_dict_next(iter, &key, &value)) == 0)
        MUST(key.as.integer == next++);
    MUST(error == MP_ESTOP && next == 200);
    MUST(mp_dict_iter_free(iter) == 0 && mp_dict_free(dict) == 0 && mp_manager_free(manager) == 0);
    return 0;
}

static void iteration_goes_on_when_there_is_memory_again(void **state)
{
    (void)state;
    in_child(iteration_without_memory);
}

/* The addresses of closed managers are kept for a while, but the next manager always finds room. */
static int one_manager_after_another(void)
{
    struct rlimit before = set_limit(RLIMIT_AS, address_space() + 96 * MIB);
    size_t first = 0;

    for (int i = 0; i < 40; i++) {
        mp_manager *manager;
        mp_manager_info info;

        MUST(mp_manager_create(&manager, NULL) == 0 && mp_manager_get_info(manager, &info) == 0);
        first = i == 0 ? info.limit : first;
        MUST(info.limit == first);
        MUST(mp_manager_free(manager) == 0);
    }
    restore_limit(RLIMIT_AS, &before);
    return 0;
}

static void managers_follow_each_other_in_little_space(void **state)
{
    (void)state;
    in_child(one_manager_after_another);
}

static int taken[64], taken_count;

/* Uses up the descriptors, except for `left` of them. */
static struct rlimit take_descriptors(int left)
{
    struct rlimit before = set_limit(RLIMIT_NOFILE, 64);

    taken_count = 0;
    while (taken_count < 64 && (taken[taken_count] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0)
        taken_count++;
    for (int i = 0; i < left; i++)
        close(taken[--taken_count]);
    return before;
}

static void give_descriptors(const struct rlimit *before)
{
    while (taken_count > 0)
        close(taken[--taken_count]);
    restore_limit(RLIMIT_NOFILE, before);
}

static int few_descriptors(void)
{
    mp_manager *manager, *named;
    mp_dict *root;
    const mp_manager_options options = {.name = own_name()};
    struct rlimit before;

    MUST(use_lock() == 0); /* its heap stays open */
    MUST(mp_manager_create(&manager, NULL) == 0 && mp_manager_root(manager, &root) == 0 && fill(root, 0, 3) == 3);
    for (int left = 0; left < 14; left++) {
        int descriptors = count_descriptors();

        before = take_descriptors(left);
        int good = use_all(MP_EAGAIN, MP_EAGAIN);
        give_descriptors(&before);
        MUST(count_descriptors() == descriptors && !own_name_is_left());
        MUST(left > 0 || good == 2);     /* locks and processes need none */
        MUST(left < 12 || good == USES); /* a pool needs the most */
        MUST(use_all(0, 0) == USES);
    }
    /* With no descriptor left, existing heaps still grow, and a name can be removed. */
    MUST(mp_manager_create(&named, &options) == 0);
    before = take_descriptors(0);
    MUST(fill(root, 3, 6) == 6);
    MUST(mp_manager_free(named) == 0);
    give_descriptors(&before);
    must_hold(manager, root, 6);
    MUST(!own_name_is_left());
    MUST(mp_manager_free(manager) == 0);
    return 0;
}

static void descriptors_run_out(void **state)
{
    (void)state;
    in_child(few_descriptors);
}

/* The limit on processes does not apply to the superuser. */
static bool become_ordinary(void)
{
    return geteuid() != 0 || (setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
}

static int kill_itself(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    raise(SIGKILL);
    return 0;
}

static bool has_no_workers(void *arg)
{
    size_t live = 1;

    return mp_pool_workers(arg, NULL, 0, &live) == 0 && live == 0;
}

/* If the supervisor cannot replace a worker, the pool goes on as soon as it can. */
static void replace_later(void (*forbid)(pid_t supervisor), void (*allow)(pid_t supervisor))
{
    mp_pool *pool;
    mp_result *killed, *result;
    pid_t supervisor;
    int x = 5, y = 0;

    MUST(mp_pool_create(&pool, 1, NULL) == 0 && mp_pool_supervisor(pool, &supervisor) == 0);
    forbid(supervisor);
    MUST(mp_pool_apply_async(pool, kill_itself, NULL, 0, 0, &killed) == 0);
    MUST(mp_pool_apply_async(pool, square, &x, sizeof x, sizeof y, &result) == 0);
    MUST(mp_result_get(killed, NULL, 0, 60) == MP_EDIED - SIGKILL);
    MUST(wait_until(has_no_workers, pool, 60));
    MUST(mp_result_wait(result, 0.3) == MP_ETIMEOUT);
    allow(supervisor);
    MUST(mp_result_get(result, &y, sizeof y, 60) == 0 && y == 25);
    MUST(mp_pool_free(pool) == 0);
}

static void limit_processes(pid_t process)
{
    struct rlimit limit;

    MUST(prlimit(process, RLIMIT_NPROC, NULL, &limit) == 0);
    limit.rlim_cur = 0;
    MUST(prlimit(process, RLIMIT_NPROC, &limit, NULL) == 0);
}

static void unlimit_processes(pid_t process)
{
    struct rlimit limit;

    MUST(prlimit(process, RLIMIT_NPROC, NULL, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    MUST(prlimit(process, RLIMIT_NPROC, &limit, NULL) == 0);
}

static int no_processes(void)
{
    if (!become_ordinary())
        return skip_loudly("cannot become an ordinary user");
    limit_processes(getpid());
    if (use_process() != MP_EAGAIN)
        return skip_loudly("this user's processes are not limited");
    MUST(use_pool() == MP_EAGAIN);
    MUST(use_all(MP_EAGAIN, MP_EAGAIN) == USES - 2);
    unlimit_processes(getpid());
    MUST(use_all(0, 0) == USES);
    replace_later(limit_processes, unlimit_processes);
    return 0;
}

static void processes_run_out(void **state)
{
    (void)state;
    in_child(no_processes);
}

static int return_much(const void *arg, void *result)
{
    (void)arg;
    *(int *)result = mp_task_return(block, sizeof block);
    return 0;
}

static int short_files(void)
{
    mp_manager *manager;
    mp_dict *root;
    mp_pool *pool;
    int error = 0;

    MUST(mp_manager_create(&manager, NULL) == 0 && mp_manager_root(manager, &root) == 0 && fill(root, 0, 3) == 3);
    for (rlim_t limit = 0; limit < 8192 * 64; limit += 8192 * 3 + 5) {
        struct rlimit before = set_limit(RLIMIT_FSIZE, limit);

        MUST(fill(root, 3, 1000) < 64); /* only the rest of the last growth is free */
        size_t length;
        MUST(mp_dict_length(root, &length) == 0);
        use_all(MP_ENOMEM, MP_ENOMEM);
        restore_limit(RLIMIT_FSIZE, &before);
        must_hold(manager, root, (int64_t)length);
        MUST(use_all(0, 0) == USES);
        for (int64_t i = 3; i < (int64_t)length; i++)
            MUST(mp_dict_remove(root, mp_value_int(i)) == 0);
    }
    /* A task cannot return its result, because its worker has a limit from the start. */
    struct rlimit before = set_limit(RLIMIT_FSIZE, 512 * 1024);
    MUST(mp_pool_create(&pool, 1, NULL) == 0);
    MUST(mp_pool_apply(pool, return_much, NULL, 0, &error, sizeof error) == 0 && error == MP_ENOMEM);
    MUST(mp_pool_apply(pool, square, block, sizeof block, block, sizeof block) == MP_ENOMEM);
    restore_limit(RLIMIT_FSIZE, &before);
    int x = 3, y = 0;
    MUST(mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y) == 0 && y == 9);
    MUST(mp_pool_free(pool) == 0);
    MUST(mp_manager_free(manager) == 0);
    return 0;
}

static void file_sizes_are_limited(void **state)
{
    (void)state;
    in_child(short_files);
}

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    close(fd);
    return written;
}

/* Gives this process mounts of its own: with its privileges, or else as the superuser of a user namespace of its
 * own. */
static bool separate_mounts(void)
{
    char users[40], groups[40];

    snprintf(users, sizeof users, "0 %u 1", (unsigned)geteuid());
    snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getegid());
    if (unshare(CLONE_NEWNS) == 0)
        return true;
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_text("/proc/self/setgroups", "deny") &&
           write_text("/proc/self/uid_map", users) && write_text("/proc/self/gid_map", groups);
}

static int full_file_system(void)
{
    mp_manager *manager;
    mp_dict *root;
    char name[40];
    const mp_manager_options options = {.name = name};

    if (!separate_mounts())
        return skip_loudly("mount namespaces are not permitted");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=16m,mode=1777") != 0)
        return skip_loudly("a small /dev/shm cannot be mounted");
    snprintf(name, sizeof name, "full-%d", (int)getpid());
    MUST(mp_manager_create(&manager, &options) == 0 && mp_manager_root(manager, &root) == 0);
    int64_t count = fill(root, 0, 1000);
    MUST(count >= 8 && count < 16);
    must_hold(manager, root, count);
    /* Fills everything to the last page, so that not even a small heap fits. */
    int fd = open("/dev/shm/filler", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    off_t filled = 0;
    while (fallocate(fd, 0, filled, 4096) == 0)
        filled += 4096;
    MUST(fd >= 0 && use_named_manager() == MP_ENOMEM && use_named_lock() == MP_ENOMEM);
    MUST(use_all(MP_ENOMEM, MP_ENOMEM) == USES - 2); /* objects without a name do not lie in /dev/shm */
    MUST(fill(root, count, 1000) == count);
    must_hold(manager, root, count);
    close(fd);
    MUST(unlink("/dev/shm/filler") == 0 && use_all(0, 0) == USES);
    /* First a removed value makes room, then a larger file system. */
    MUST(mp_dict_remove(root, mp_value_int(--count)) == 0 && fill(root, count, count + 1) == count + 1);
    must_hold(manager, root, ++count);
    MUST(mount(NULL, "/dev/shm", NULL, MS_REMOUNT, "size=64m") == 0);
    MUST(fill(root, count, 40) == 40);
    must_hold(manager, root, 40);
    MUST(mp_manager_free(manager) == 0 && count_shared_files() == 0);
    return 0;
}

static void the_file_system_is_full(void **state)
{
    (void)state;
    in_child(full_file_system);
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return good;
}

/* Strict accounting concerns the whole machine, so it is tried only if the person who runs the tests asks for it. */
static int strict_memory(void)
{
    const char *path = "/proc/sys/vm/overcommit_memory";
    char before[8] = "0";
    FILE *file = fopen(path, "re");
    int good;

    if (getenv("MP_TEST_OVERCOMMIT") == NULL)
        return skip_loudly("set MP_TEST_OVERCOMMIT=1 to have overcommitting switched off for this test, machine-wide");
    if (file == NULL || fgets(before, sizeof before, file) == NULL || !write_file(path, "2"))
        return skip_loudly("overcommitting cannot be switched off");
    pid_t pid = fork(); /* so that the parent restores the setting whatever happens */
    if (pid == 0) {
        good = use_all(MP_ENOMEM, MP_EAGAIN);
        _exit(good >= 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    MUST(write_file(path, before));
    fclose(file);
    MUST(status == 0 && use_all(0, 0) == USES);
    return 0;
}

static void memory_is_not_overcommitted(void **state)
{
    (void)state;
    in_child(strict_memory);
}

static char group[200], group_limit[240];

static bool make_group(void)
{
    const char *places[] = {"/sys/fs/cgroup/pids", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    char path[240], pid[20];

    snprintf(pid, sizeof pid, "%d", (int)getpid());
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(group, sizeof group, "%s/mp-limits-%s", places[i], pid);
        if (mkdir(group, 0700) != 0)
            continue;
        snprintf(group_limit, sizeof group_limit, "%s/pids.max", group);
        snprintf(path, sizeof path, "%s/cgroup.procs", group);
        if (access(group_limit, W_OK) == 0 && write_file(path, pid))
            return true;
        rmdir(group);
    }
    return false;
}

static void limit_group(pid_t supervisor)
{
    (void)supervisor;
    MUST(write_file(group_limit, "1"));
}

static void unlimit_group(pid_t supervisor)
{
    (void)supervisor;
    MUST(write_file(group_limit, "max"));
}

/* Runs in a process of its own, so that the group is empty afterwards. */
static int group_body(void)
{
    if (!make_group())
        return skip_loudly("no group with a limit of processes can be made");
    limit_group(0);
    MUST(use_process() == MP_EAGAIN && use_pool() == MP_EAGAIN);
    MUST(use_all(MP_EAGAIN, MP_EAGAIN) == USES - 2);
    unlimit_group(0);
    MUST(use_all(0, 0) == USES);
    replace_later(limit_group, unlimit_group);
    return 0;
}

static bool group_removed(void *arg)
{
    return rmdir(arg) == 0 || errno == ENOENT;
}

static int limited_group(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        exit(group_body());
    MUST(pid > 0 && waitpid(pid, &status, 0) == pid);
    const char *places[] = {"/sys/fs/cgroup/pids", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(group, sizeof group, "%s/mp-limits-%d", places[i], (int)pid);
        if (access(group, F_OK) == 0)
            MUST(wait_until(group_removed, group, 10));
    }
    if (WIFSIGNALED(status))
        raise(WTERMSIG(status));
    return WEXITSTATUS(status);
}

static void the_group_is_full(void **state)
{
    (void)state;
    in_child(limited_group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_space_runs_out),
        cmocka_unit_test(managers_follow_each_other_in_little_space),
        cmocka_unit_test(descriptors_run_out),
        cmocka_unit_test(processes_run_out),
        cmocka_unit_test(file_sizes_are_limited),
        cmocka_unit_test(the_file_system_is_full),
        cmocka_unit_test(memory_is_not_overcommitted),
        cmocka_unit_test(the_group_is_full),
        cmocka_unit_test(iteration_goes_on_when_there_is_memory_again),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
