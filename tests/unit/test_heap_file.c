/* What a heap needs from the system: programs that have closed descriptors, sandboxes that refuse calls, limits on
 * addresses and on locked memory. */
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/descriptor.h"
#include "base/random.h"
#include "heap/heap.h"
#include "refuse.h"
#include "sanitizers.h"
#include "support.h"

#define MANY 3000

static pid_t first_process; /* in children, the system calls that LeakSanitizer needs are refused */
LEAKS_ONLY_IN(first_process)

static char name[64], path[120];

static void new_name(void)
{
    static int number;

    snprintf(name, sizeof name, "test-heap-file-%d-%d", number++, (int)getpid());
    snprintf(path, sizeof path, "/dev/shm/libmp-%lu-%.63s", (unsigned long)geteuid(), name);
}

/* For a child, which exits with a code made from the number of the failed line. */
#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            _exit(__LINE__ % 251 + 1); \
    } while (0)

static void in_child(void (*function)(const void *), const void *arg, const char *what)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        alarm(100); /* instead of a hang */
        function(arg);
        exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fail_msg("%s: status %x, line %d or so", what, (unsigned)status, (status >> 8) - 1);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* ---- all kinds of objects that have a file ---- */

static mp_manager *manager;
static mp_lock *lock;
static char *memory;

static int use_dict(void)
{
    mp_dict *root;
    char value[1000];
    int error = mp_manager_root(manager, &root);

    memset(value, 'v', sizeof value);
    for (int i = 0; i < 1000 && error == 0; i++)
        error = mp_dict_set(root, mp_value_int(i), mp_value_strn(value, sizeof value));
    if (error == 0)
        error = mp_dict_clear(root);
    return error != 0 ? error : mp_manager_check(manager);
}

static int make_manager(void)
{
    return mp_manager_create(&manager, NULL);
}

static int make_named_manager(void)
{
    return mp_manager_create(&manager, &(mp_manager_options){.name = name});
}

static int open_or_make_manager(void)
{
    return mp_manager_open_or_create(&manager, name, NULL, NULL);
}

static int free_manager(void)
{
    return mp_manager_free(manager);
}

static int make_memory(void)
{
    int error = mp_manager_create(&manager, NULL);

    return error != 0 ? error : mp_manager_alloc(manager, 3 << 20, (void **)&memory);
}

static int use_memory(void)
{
    for (int i = 0; i < 3 << 20; i += 1000)
        memory[i] = (char)i;
    return mp_manager_check(manager);
}

static int make_lock(void)
{
    return mp_lock_create(&lock, NULL);
}

static int make_named_lock(void)
{
    return mp_lock_create(&lock, &(mp_lock_options){name});
}

static int open_lock(void)
{
    return mp_lock_open(&lock, name, NULL);
}

static int use_lock(void)
{
    int error = mp_lock_acquire(lock, 1);

    return error != 0 ? error : mp_lock_release(lock);
}

static int free_lock(void)
{
    return mp_lock_free(lock);
}

static const struct object {
    const char *name;
    int (*make)(void), (*use)(void), (*free)(void);
    bool named;
} objects[] = {
    {"manager", make_manager, use_dict, free_manager, false},
    {"named manager", make_named_manager, use_dict, free_manager, true},
    {"named manager, opened or made", open_or_make_manager, use_dict, free_manager, true},
    {"memory", make_memory, use_memory, free_manager, false},
    {"lock", make_lock, use_lock, free_lock, false},
    {"named lock", make_named_lock, use_lock, free_lock, true},
    {"named lock, opened or made", open_lock, use_lock, free_lock, true},
};
#define OBJECTS (sizeof objects / sizeof *objects)

/* ---- descriptors ---- */

struct closed {
    const struct object *object;
    int subset;
};

/* Prints to each standard descriptor. If it is closed, writing must fail; it must not reach another file. */
static void print_everywhere(void)
{
    for (int fd = 0; fd < 3; fd++) {
        char text[5000];

        memset(text, 'x', sizeof text);
        REQUIRE(write(fd, text, sizeof text) < 0 || fcntl(fd, F_GETFD) >= 0);
    }
}

/* Which standard descriptors are closed, one bit for each. */
static int closed_ones(void)
{
    int subset = 0;

    for (int fd = 0; fd < 3; fd++)
        subset |= fcntl(fd, F_GETFD) < 0 ? 1 << fd : 0;
    return subset;
}

static void with_standard_descriptors_closed(const void *arg)
{
    const struct closed *closed = arg;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    /* The standard descriptors in the subset are closed; the others lead to /dev/null. */
    for (int fd = 0; fd < 3; fd++) {
        REQUIRE(dup2(null, fd) == fd);
        if (closed->subset >> fd & 1)
            close(fd);
    }
    REQUIRE(closed->object->make() == 0);
    REQUIRE(closed_ones() == closed->subset);
    print_everywhere();
    REQUIRE(closed->object->use() == 0);
    print_everywhere();
    REQUIRE(closed->object->use() == 0);
    REQUIRE(closed->object->free() == 0);
    REQUIRE(closed_ones() == closed->subset);
}

static void no_descriptor_is_a_standard_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < OBJECTS; i++) {
        for (int subset = 0; subset < 8; subset++) {
            struct closed closed = {&objects[i], subset};

            new_name();
            in_child(with_standard_descriptors_closed, &closed, objects[i].name);
        }
    }
}

#define OWN 64

static void with_all_descriptors_reused(const void *arg)
{
    const struct object *object = arg;
    int own[OWN];
    struct stat file[OWN], after;

    REQUIRE(object->make() == 0);
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    for (int i = 0; i < OWN; i++) {
        own[i] = open("/tmp", O_TMPFILE | O_RDWR, 0600);
        REQUIRE(own[i] >= 0 && write(own[i], "precious", 8) == 8 && fstat(own[i], &file[i]) == 0);
    }
    /* A call that needs the heap's file may fail, unless a name leads to the file. */
    int error = object->use();
    REQUIRE(error == 0 || (error == MP_ESYSTEM && !object->named));
    REQUIRE(object->free() == 0);
    for (int i = 0; i < OWN; i++) {
        char text[9] = "";

        REQUIRE(fstat(own[i], &after) == 0 && after.st_ino == file[i].st_ino && after.st_size == 8);
        REQUIRE(pread(own[i], text, 8, 0) == 8 && strcmp(text, "precious") == 0);
    }
}

static void no_file_of_the_programs_is_closed(void **state)
{
    (void)state;
    for (size_t i = 0; i < OBJECTS; i++) {
        new_name();
        in_child(with_all_descriptors_reused, &objects[i], objects[i].name);
    }
}

/* Closing all descriptors does not make a name stale. */
static void with_all_descriptors_closed(const void *arg)
{
    mp_manager *other;
    (void)arg;

    REQUIRE(make_named_manager() == 0);
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    REQUIRE(mp_manager_create(&other, &(mp_manager_options){.name = name}) == MP_EEXIST);
    REQUIRE(mp_manager_open(&other, name, NULL) == 0 && mp_manager_free(other) == 0);
    REQUIRE(use_dict() == 0);
    REQUIRE(access(path, F_OK) == 0 && free_manager() == 0 && access(path, F_OK) != 0);
}

static void a_name_outlives_its_descriptors(void **state)
{
    (void)state;
    new_name();
    in_child(with_all_descriptors_closed, NULL, "all closed");
}

static void moving_up(void **state)
{
    int ends[2];
    (void)state;

    assert_int_equal(descriptor_move_up(-1), MP_ESYSTEM);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(descriptor_move_up(ends[0]), ends[0]);
    assert_int_equal(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    int input = dup(0);
    assert_int_equal(dup2(ends[1], 0), 0);
    int moved = descriptor_move_up(0);
    assert_true(moved > 2);
    assert_int_equal(fcntl(moved, F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(0, F_GETFD) < 0);
    assert_int_equal(write(moved, "x", 1), 1);
    if (input >= 0) {
        assert_int_equal(dup2(input, 0), 0);
        close(input);
    }
    close(moved);
    close(ends[0]);
    close(ends[1]);
}

/* ---- refused calls ---- */

static const struct {
    const char *name;
    int number;
    unsigned argument; /* index of an argument, if only calls with all bits of `mask` in it are refused */
    uint32_t mask;
    bool needed_for_names; /* without it, making a named object gives MP_ESYSTEM */
} calls[] = {
    {"memfd_create", SYS_memfd_create, 0, 0, false},
    {"getrandom", SYS_getrandom, 0, 0, false},
    {"fallocate", SYS_fallocate, 0, 0, false},
    {"flock", SYS_flock, 0, 0, true},
    {"linkat", SYS_linkat, 0, 0, true},
    {"openat with O_TMPFILE", SYS_openat, 2, O_TMPFILE, false},
    {"renameat2", SYS_renameat2, 0, 0, false},
    {"getdents64", SYS_getdents64, 0, 0, false},
    {"madvise", SYS_madvise, 0, 0, false},
    {"mremap", SYS_mremap, 0, 0, false},
    {"fchmod", SYS_fchmod, 0, 0, false},
    {"prlimit64", SYS_prlimit64, 0, 0, false},
    {"pread64", SYS_pread64, 0, 0, false},
    {"mprotect", SYS_mprotect, 0, 0, false},
    {"munmap", SYS_munmap, 0, 0, false},
    {"fstatfs", SYS_fstatfs, 0, 0, false},
    {"lseek", SYS_lseek, 0, 0, false},
    {"process_vm_readv", SYS_process_vm_readv, 0, 0, false},
};
#define CALLS (sizeof calls / sizeof *calls)
#define NO_CALL ((int)CALLS)

static int refuse_one(int call, int error)
{
    if (call == NO_CALL)
        return 0;
    if (calls[call].mask == 0)
        return refuse_call(calls[call].number, error);
    return refuse_call_with(calls[call].number, calls[call].argument, calls[call].mask, calls[call].mask, error);
}

struct refused {
    const struct object *object;
    int call, other, error;
};

static void with_a_call_refused(const void *arg)
{
    const struct refused *refused = arg;
    bool needed = refused->object->named && ((refused->call != NO_CALL && calls[refused->call].needed_for_names) ||
                                             (refused->other != NO_CALL && calls[refused->other].needed_for_names));

    REQUIRE(refuse_one(refused->call, refused->error) == 0 && refuse_one(refused->other, refused->error) == 0);
    int descriptors = count_descriptors();
    errno = 0;
    int error = refused->object->make();
    if (needed && error != 0) {
        REQUIRE(error == MP_ESYSTEM && errno == refused->error);
        REQUIRE(count_descriptors() == descriptors || calls[refused->call].number == SYS_getdents64);
        return;
    }
    REQUIRE(error == 0);
    REQUIRE(refused->object->use() == 0);
    REQUIRE(refused->object->free() == 0);
    REQUIRE(!refused->object->named || access(path, F_OK) != 0);
}

static void refuse_with(int other)
{
    const int errors[] = {ENOSYS, EPERM};
    char what[200];

    for (size_t i = 0; i < OBJECTS; i++) {
        for (int call = 0; call < (int)CALLS; call++) {
            for (int e = 0; e < 2; e++) {
                struct refused refused = {&objects[i], call, other, errors[e]};

                if (TSAN && calls[call].number == SYS_munmap)
                    continue; /* ThreadSanitizer needs it */
                new_name();
                snprintf(what, sizeof what, "%s without %s%s%s", objects[i].name, calls[call].name,
                         other == NO_CALL ? "" : " and ", other == NO_CALL ? "" : calls[other].name);
                in_child(with_a_call_refused, &refused, what);
            }
        }
    }
}

static void refused_calls(void **state)
{
    (void)state;
    refuse_with(NO_CALL);
}

/* The replacement for a refused call may need another call that is refused, too. */
static void refused_pairs(void **state)
{
    (void)state;
    refuse_with(0);
    refuse_with(5);
}

/* Shared mappings are refused. Private ones, which the C library needs, work. */
static void without_shared_mappings(const void *arg)
{
    const int error = *(const int *)arg;

    REQUIRE(refuse_call_with(SYS_mmap, 3, MAP_SHARED | MAP_PRIVATE, MAP_SHARED, error) == 0);
    for (size_t i = 0; i < OBJECTS; i++) {
        int descriptors = count_descriptors();

        errno = 0;
        REQUIRE(objects[i].make() == MP_ESYSTEM && errno == error);
        REQUIRE(count_descriptors() == descriptors && access(path, F_OK) != 0);
    }
}

static void no_mapping_is_an_error_that_says_so(void **state)
{
    const int errors[] = {ENOSYS, EPERM};
    (void)state;

    for (int e = 0; e < 2; e++) {
        new_name();
        in_child(without_shared_mappings, &errors[e], "no shared mappings");
    }
}

/* All ways to make a memory file are refused. */
static void without_any_file(const void *arg)
{
    (void)arg;
    REQUIRE(refuse_call(SYS_memfd_create, EPERM) == 0 &&
            refuse_call_with(SYS_openat, 2, O_CREAT, O_CREAT, EPERM) == 0 &&
            refuse_call_with(SYS_openat, 2, O_TMPFILE, O_TMPFILE, EPERM) == 0);
    for (size_t i = 0; i < OBJECTS; i++) {
        errno = 0;
        REQUIRE(objects[i].make() == MP_ESYSTEM && errno == EPERM);
    }
}

static void no_file_is_an_error_that_says_so(void **state)
{
    (void)state;
    new_name();
    in_child(without_any_file, NULL, "no files");
}

static void random_without_the_system(const void *arg)
{
    uint64_t word[16];
    (void)arg;

    REQUIRE(refuse_call(SYS_getrandom, ENOSYS) == 0 && refuse_call(SYS_openat, EPERM) == 0);
    for (int i = 0; i < 16; i++) {
        random_bytes(&word[i], sizeof word[i]);
        for (int k = 0; k < i; k++)
            REQUIRE(word[i] != word[k]);
    }
}

static void random_bytes_come_from_somewhere(void **state)
{
    (void)state;
    new_name();
    in_child(random_without_the_system, NULL, "random bytes");
}

/* ---- addresses ---- */

static size_t mapped_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL || fscanf(file, "%lu", &pages) != 1)
        pages = 0;
    if (file != NULL)
        fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void *nothing(void *arg)
{
    return arg;
}

static void under_an_address_limit(const void *arg)
{
    const rlim_t limit = *(const rlim_t *)arg;
    pthread_t thread;

    if (limit != 0)
        REQUIRE(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}) == 0);
    size_t before = mapped_bytes();
    REQUIRE(mp_lock_create(&lock, NULL) == 0 && mp_lock_free(lock) == 0); /* its heap stays open */
    size_t one = mapped_bytes() - before;
    for (int i = 0; i < MANY; i++) {
        REQUIRE(make_manager() == 0);
        REQUIRE(free_manager() == 0);
        if (i % 100 == 0) {
            new_name();
            REQUIRE(make_named_manager() == 0 && free_manager() == 0);
        }
    }
    REQUIRE(mapped_bytes() - before < one + (64 << 20));
    REQUIRE(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
    for (size_t i = 0; i < OBJECTS; i++) {
        new_name();
        REQUIRE(objects[i].make() == 0 && objects[i].use() == 0 && objects[i].free() == 0);
    }
}

static void addresses_come_back(void **state)
{
    const rlim_t limits[] = {0, (rlim_t)256 << 20, (rlim_t)1 << 30};
    (void)state;

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        if ((ASAN || TSAN) && limits[i] != 0)
            continue; /* a sanitizer has mapped more addresses than that */
        new_name();
        in_child(under_an_address_limit, &limits[i], "addresses");
    }
}

/* Many managers at once, freed in both orders, again and again. */
static void many_at_once(const void *arg)
{
    enum { AT_ONCE = 400 };
    static mp_manager *all[AT_ONCE];
    size_t before = mapped_bytes();
    (void)arg;

    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < AT_ONCE; i++)
            REQUIRE(mp_manager_create(&all[i], NULL) == 0);
        for (int i = 0; i < AT_ONCE; i++)
            REQUIRE(mp_manager_free(all[round % 2 == 0 ? i : AT_ONCE - 1 - i]) == 0);
        REQUIRE(mapped_bytes() - before < (size_t)256 << 20);
    }
}

static void many_managers_at_once(void **state)
{
    (void)state;
    if (TSAN)
        skip(); /* ThreadSanitizer leaves too few addresses */
    new_name();
    in_child(many_at_once, NULL, "many");
}

static void handles_of_the_last_closed(const void *arg)
{
    enum { CLOSED = 16 };
    mp_manager *all[CLOSED];
    mp_dict *dict[CLOSED];
    size_t length;
    (void)arg;

    for (int i = 0; i < CLOSED; i++) {
        REQUIRE(mp_manager_create(&all[i], NULL) == 0);
        for (int k = 0; k < 2000; k++)
            REQUIRE(mp_manager_dict(all[i], &dict[i]) == 0 && mp_dict_set_int(dict[i], "x", k) == 0);
        REQUIRE(mp_manager_free(all[i]) == 0);
    }
    for (int i = 0; i < CLOSED; i++)
        REQUIRE(mp_dict_length(dict[i], &length) == MP_EINVAL && mp_manager_free(all[i]) == MP_EINVAL);
}

static void handles_into_closed_managers_are_errors(void **state)
{
    (void)state;
    new_name();
    in_child(handles_of_the_last_closed, NULL, "stale handles");
}

/* ---- locked memory ---- */

static long page_table_kilobytes(void)
{
    char line[200];
    long size = -1;
    FILE *file = fopen("/proc/self/status", "r");

    while (file != NULL && size < 0 && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmPTE: %ld", &size) != 1)
            size = -1;
    if (file != NULL)
        fclose(file);
    return size;
}

static void with_all_memory_locked(const void *arg)
{
    const struct object *object = arg;

    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        return; /* not permitted */
    double begin = now();
    for (int i = 0; i < 20; i++) {
        REQUIRE(object->make() == 0);
        REQUIRE(object->use() == 0);
        REQUIRE(object->free() == 0);
    }
    REQUIRE(now() - begin < 20);
    REQUIRE(page_table_kilobytes() < 8 * 1024);
}

static _Atomic(mp_dict *) closing;
static _Atomic unsigned looks;

static void *look_at_closing(void *arg)
{
    size_t length;

    for (mp_dict *handle; (handle = closing) != NULL; looks++)
        mp_list_length((mp_list *)handle, &length); /* a dict: only the check for a list looks at it */
    return arg;
}

/* Another thread may look at the handle at any moment. */
static void closing_leaves_no_gap(void **state)
{
    pthread_t thread;
    mp_dict *root;
    (void)state;

    for (int i = 0; i < 150; i++) {
        assert_int_equal(mp_manager_create(&manager, NULL), 0);
        assert_int_equal(mp_manager_root(manager, &root), 0);
        closing = root;
        if (i == 0)
            assert_int_equal(pthread_create(&thread, NULL, look_at_closing, NULL), 0);
        assert_int_equal(mp_manager_free(manager), 0);
        for (unsigned before = looks; looks - before < 2;) /* so that the thread never holds an old handle */
            sched_yield();
    }
    closing = NULL;
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void locked_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < OBJECTS; i++) {
        new_name();
        in_child(with_all_memory_locked, &objects[i], objects[i].name);
    }
}

int main(void)
{
    first_process = getpid();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_descriptor_is_a_standard_one),
        cmocka_unit_test(no_file_of_the_programs_is_closed),
        cmocka_unit_test(a_name_outlives_its_descriptors),
        cmocka_unit_test(moving_up),
        cmocka_unit_test(refused_calls),
        cmocka_unit_test(refused_pairs),
        cmocka_unit_test(no_mapping_is_an_error_that_says_so),
        cmocka_unit_test(no_file_is_an_error_that_says_so),
        cmocka_unit_test(random_bytes_come_from_somewhere),
        cmocka_unit_test(addresses_come_back),
        cmocka_unit_test(many_managers_at_once),
        cmocka_unit_test(handles_into_closed_managers_are_errors),
        cmocka_unit_test(closing_leaves_no_gap),
        cmocka_unit_test(locked_memory),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
