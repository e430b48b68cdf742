/* Named objects that are damaged, incomplete, or something else: opening them gives an error or works, and never
 * crashes or waits. A heap that mp_manager_check() finds sound works. */
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "heap/heap.h"
#include "heap/heap_file.h"
#include "object/object.h"
#include "refuse.h"
#include "support.h"

#define STRANGER 65534

static char name[40], path[100];
static int held = -1; /* holds the shared lock of a user, so that the file is not stale */

static int make(void **state)
{
    static int number;
    (void)state;

    snprintf(name, sizeof name, "test-hostile-%d-%d", (int)getpid(), number++);
    snprintf(path, sizeof path, "/dev/shm/libmp-%lu-%s", (unsigned long)geteuid(), name);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    if (held >= 0) {
        close(held);
        unlink(path);
    }
    held = -1;
    return access(path, F_OK) == 0; /* nothing may be left */
}

/* The bytes of a whole heap. */
struct image {
    size_t size;
    char *bytes;
};

static struct image read_image(void)
{
    struct stat file;
    int fd = open(path, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &file), 0);
    struct image image = {(size_t)file.st_size, malloc((size_t)file.st_size)};
    assert_non_null(image.bytes);
    assert_int_equal(read(fd, image.bytes, image.size), image.size);
    close(fd);
    return image;
}

static struct image manager_image(void)
{
    mp_manager *manager;
    mp_dict *root, *inner;
    mp_list *list;

    assert_int_equal(mp_manager_create(&manager, &(mp_manager_options){.name = name}), 0);
    assert_int_equal(mp_manager_root(manager, &root), 0);
    assert_int_equal(mp_manager_dict(manager, &inner), 0);
    assert_int_equal(mp_manager_list(manager, &list), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(mp_dict_set(inner, mp_value_int(i), mp_value_str("a value of some length")), 0);
    assert_int_equal(mp_list_append_str(list, "short"), 0);
    assert_int_equal(mp_dict_set_dict(root, "a dict", inner), 0);
    assert_int_equal(mp_dict_set_list(root, "a list under a long key", list), 0);
    struct image image = read_image();
    assert_int_equal(mp_manager_free(manager), 0);
    return image;
}

static struct image lock_image(void)
{
    mp_lock *lock;

    assert_int_equal(mp_lock_create(&lock, &(mp_lock_options){name}), 0);
    struct image image = read_image();
    assert_int_equal(mp_lock_free(lock), 0);
    return image;
}

/* Makes the file, with the first `size` bytes of the image. It gets a user before it looks like a heap: other programs
 * remove stale heaps. */
static void put_file(const struct image *image, size_t size)
{
    held = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(held >= 0);
    assert_int_equal(flock(held, LOCK_SH), 0);
    assert_int_equal(write(held, image->bytes, size), size);
}

static void put_bytes(const void *bytes, size_t size, size_t at)
{
    assert_int_equal(pwrite(held, bytes, size, (off_t)at), size);
}

static void put_word(size_t at, uint64_t word)
{
    put_bytes(&word, sizeof word, at);
}

static int open_manager(void)
{
    mp_manager *manager;
    int error = mp_manager_open(&manager, name, NULL);

    if (error == 0)
        assert_int_equal(mp_manager_free(manager), 0);
    return error;
}

static int open_lock(void)
{
    mp_lock *lock;
    int error = mp_lock_open(&lock, name, NULL);

    if (error == 0)
        assert_int_equal(mp_lock_free(lock), 0);
    return error;
}

/* ---- the header ---- */

static void every_bit_of_the_header(int (*open_it)(void), const struct image *image)
{
    for (size_t bit = 0; bit < 8 * offsetof(struct heap, mutex); bit++) {
        char byte = (char)(image->bytes[bit / 8] ^ 1 << bit % 8);

        put_bytes(&byte, 1, bit / 8);
        int error = open_it();
        if (error != MP_ECORRUPT && error != MP_EVERSION && error != MP_EKIND)
            fail_msg("bit %zu flipped: %s", bit, mp_strerror(error));
        put_bytes(&image->bytes[bit / 8], 1, bit / 8);
    }
    assert_int_equal(open_it(), 0);
    for (size_t i = 0; i < offsetof(struct heap, mutex); i++) {
        for (int byte = 0; byte < 256; byte += 5) {
            put_bytes(&(char){(char)byte}, 1, i);
            assert_true(open_it() != 0 || (char)byte == image->bytes[i]);
        }
        put_bytes(&image->bytes[i], 1, i);
    }
}

static void a_damaged_header_is_refused(void **state)
{
    struct image image = manager_image();
    (void)state;

    put_file(&image, image.size);
    every_bit_of_the_header(open_manager, &image);
    free(image.bytes);
}

static void a_damaged_header_of_a_lock_is_refused(void **state)
{
    struct image image = lock_image();
    (void)state;

    put_file(&image, image.size);
    every_bit_of_the_header(open_lock, &image);
    free(image.bytes);
}

static void another_version_is_told_from_damage(void **state)
{
    struct image image = manager_image();
    const uint32_t version = UINT32_MAX;
    (void)state;

    put_file(&image, image.size);
    put_bytes(&version, sizeof version, offsetof(struct heap, version));
    assert_int_equal(open_manager(), MP_EVERSION);
    assert_int_equal(open_lock(), MP_EVERSION);
    free(image.bytes);
}

/* ---- behind the header: each bit of the bookkeeping and of all objects ---- */

static size_t changed_byte; /* 0: none, or several bytes */

static void use(mp_manager *manager)
{
    mp_dict *root;
    char *text;

    assert_int_equal(mp_manager_root(manager, &root), 0);
    assert_int_equal(mp_dict_set_str(root, "another", "value that takes a block of its own"), 0);
    assert_int_equal(mp_dict_json(root, &text), 0);
    free(text);
    assert_int_equal(mp_dict_clear(root), 0);
    if (mp_manager_check(manager) != 0)
        fail_msg("it is damaged by its use, after byte %zu was changed", changed_byte);
}

/* Called after the byte `at` was changed. Restores it at the end. */
static void expect_no_harm(const struct image *image, size_t at)
{
    mp_manager *manager;

    changed_byte = at;
    int error = mp_manager_open(&manager, name, NULL);
    if (error == 0) {
        error = mp_manager_check(manager);
        if (error == 0)
            use(manager);
        mp_manager_free(manager);
    }
    if (error != 0 && error != MP_ECORRUPT && error != MP_EDEADLK)
        fail_msg("byte %zu was changed: %s", at, mp_strerror(error));
    put_bytes(image->bytes, image->size, 0);
    changed_byte = 0;
}

/* Leaves out the first word of each mutex: it names a thread, and the set of existing threads differs from run to run.
 * That word has tests of its own below. */
static void flip_each_bit(const struct image *image, size_t from, size_t to)
{
    for (size_t bit = 8 * from; bit < 8 * to; bit++) {
        char byte = (char)(image->bytes[bit / 8] ^ 1 << bit % 8);

        put_bytes(&byte, 1, bit / 8);
        expect_no_harm(image, bit / 8);
    }
}

static void put_in_word(const struct image *image, size_t at, uint64_t word)
{
    put_word(at, word);
    expect_no_harm(image, at);
}

static void damaged_bookkeeping_is_found_or_does_no_harm(void **state)
{
    struct image image = manager_image();
    const struct heap *heap = (const struct heap *)(const void *)image.bytes;
    (void)state;

    put_file(&image, image.size);
    alarm(240); /* instead of a hang */
    flip_each_bit(&image, offsetof(struct heap, mutex) + 4, offsetof(struct heap, log[2]));
    flip_each_bit(&image, offsetof(struct heap, root), offsetof(struct heap, first_free[1]));
    for (uint64_t at = atomic_load(&heap->objects); at != 0;) {
        const struct object *object = (const struct object *)(const void *)(image.bytes + at);

        flip_each_bit(&image, at, at + offsetof(struct object, mutex));
        flip_each_bit(&image, at + offsetof(struct object, mutex) + 4, at + sizeof *object);
        at = atomic_load(&object->next_all);
    }
    alarm(0);
    free(image.bytes);
}

/* Whether this is the first word of a mutex, which names its holder. */
static bool is_holder(const struct image *image, size_t at)
{
    const struct heap *heap = (const struct heap *)(const void *)image->bytes;

    if (at == offsetof(struct heap, mutex) || at == offsetof(struct heap, checking))
        return true;
    for (uint64_t object = atomic_load(&heap->objects); object != 0;) {
        if (at == object + offsetof(struct object, mutex))
            return true;
        object = atomic_load(&((const struct object *)(const void *)(image->bytes + object))->next_all);
    }
    return false;
}

/* Each word of the file that is in use, except those that name the holder of a mutex, gets a value that leads nowhere,
 * or elsewhere. */
static void words_that_lead_nowhere(void **state)
{
    struct image image = manager_image();
    const uint64_t words[] = {UINT64_MAX, UINT64_MAX - 63, UINT64_C(1) << 62, UINT64_C(1) << 40, 64};
    (void)state;

    put_file(&image, image.size);
    alarm(240); /* instead of a hang */
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        for (size_t at = offsetof(struct heap, undo); at + 8 <= image.size; at += 8) {
            bool used = at < sizeof(struct heap) || memcmp(image.bytes + at, "\0\0\0\0\0\0\0", 8) != 0;

            if (used && !is_holder(&image, at))
                put_in_word(&image, at, words[i]);
        }
    }
    alarm(0);
    free(image.bytes);
}

static void lengths_that_lie(void **state)
{
    struct image image = manager_image();
    const uint64_t lies[] = {
        0, 1, 4096, image.size - 4096, image.size - 1, image.size + 4096, UINT64_C(1) << 36, UINT64_MAX};
    (void)state;

    put_file(&image, image.size);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        mp_manager *manager;

        put_word(offsetof(struct heap, size), lies[i]);
        int error = mp_manager_open(&manager, name, NULL);
        if (error == 0) {
            error = mp_manager_check(manager);
            mp_manager_free(manager);
        }
        assert_int_equal(error, MP_ECORRUPT);
    }
    free(image.bytes);
}

/* Makes the next locker of the mutex of the heap (0), or of an object, get EOWNERDEAD. */
static void let_the_owner_die(uint64_t object)
{
    size_t mutex = object == 0 ? offsetof(struct heap, mutex) : object + offsetof(struct object, mutex);
    mp_manager *manager;

    put_bytes(&(uint32_t){0x40000000}, 4, mutex); /* FUTEX_OWNER_DIED */
    int error = mp_manager_open(&manager, name, NULL);
    if (error != 0) {
        assert_int_equal(error, MP_ECORRUPT);
        return;
    }
    error = mp_manager_check(manager);
    assert_true(error == 0 || error == MP_ECORRUPT);
    /* A second check gives the same answer. */
    assert_int_equal(mp_manager_check(manager), error);
    if (error == 0) /* the word has no meaning while the mutex is free */
        use(manager);
    mp_manager_free(manager);
}

/* The recovery finds an undo log with records that it must not apply. */
static void the_log_of_a_dead_owner_may_lie(void **state)
{
    struct image image = manager_image();
    const struct heap *heap = (const struct heap *)(const void *)image.bytes;
    const uint64_t objects = atomic_load(&heap->objects), root = atomic_load(&heap->root);
    const uint64_t targets[] = {0,
                                offsetof(struct heap, size),
                                objects + offsetof(struct object, mutex) + 24,
                                root + offsetof(struct object, mutex) + 32,
                                root + offsetof(struct object, root),
                                UINT64_C(1) << 35,
                                UINT64_MAX - 7,
                                3};
    const uint64_t counts[] = {1, 32, 33, 1000, UINT64_MAX};
    const struct object *object = (const struct object *)(const void *)(image.bytes + root);
    (void)state;

    put_file(&image, image.size);
    for (size_t i = 0; i < 2 * 8 * 5; i++) {
        bool of_heap = i % 2 == 0;
        uint64_t log = of_heap ? offsetof(struct heap, log) : atomic_load(&object->undo.log);

        put_word(of_heap ? offsetof(struct heap, undo) : root + offsetof(struct object, undo), counts[i / 16]);
        put_word(log, targets[i / 2 % 8]);
        put_word(log + 8, UINT64_C(0x4141414141414141));
        let_the_owner_die(of_heap ? 0 : root);
        put_bytes(image.bytes, image.size, 0);
    }
    free(image.bytes);
}

/* The recovery must not follow, or write to, a log that lies elsewhere. */
static void the_log_may_lie_anywhere(void **state)
{
    struct image image = manager_image();
    const uint64_t root = atomic_load(&((const struct heap *)(const void *)image.bytes)->root);
    const uint64_t places[] = {
        0, 3, 16, root, image.size - 16, image.size - UNDO_LOG_BYTES + 16, UINT64_C(1) << 35, UINT64_MAX - 15};
    (void)state;

    put_file(&image, image.size);
    for (size_t i = 0; i < 2 * 2 * sizeof places / sizeof *places; i++) {
        uint64_t owner = i % 2 == 0 ? 0 : root;
        size_t undo = owner == 0 ? offsetof(struct heap, undo) : root + offsetof(struct object, undo);

        put_word(undo, i / 2 % 2);
        put_word(undo + offsetof(struct undo, log), places[i / 4]);
        let_the_owner_die(owner);
        put_bytes(image.bytes, image.size, 0);
    }
    free(image.bytes);
}

/* The second record names the place that the first record is read from, or the words of a mutex, or the log itself. */
static void a_log_may_name_itself_and_mutexes(void **state)
{
    struct image image = manager_image();
    const struct heap *heap = (const struct heap *)(const void *)image.bytes;
    const uint64_t root = atomic_load(&heap->root);
    const struct object *object = (const struct object *)(const void *)(image.bytes + root);
    const uint64_t values[] = {UINT64_C(1) << 40, UINT64_C(1) << 46, (uint64_t)-4096, 64, 0};
    (void)state;

    put_file(&image, image.size);
    for (size_t i = 0; i < 2 * sizeof values / sizeof *values; i++) {
        bool of_heap = i % 2 == 0;
        uint64_t log = of_heap ? offsetof(struct heap, log) : atomic_load(&object->undo.log);
        uint64_t undo = of_heap ? offsetof(struct heap, undo) : root + offsetof(struct object, undo);
        uint64_t named[128], count = 0;

        for (uint64_t at = 0; at < sizeof(struct undo); at += 8)
            named[count++] = undo + at;
        for (uint64_t at = 0; at < 4 * 8; at += 8)
            named[count++] = log + at;
        for (uint64_t at = 0; at < sizeof(pthread_mutex_t); at += 8) {
            named[count++] = offsetof(struct heap, mutex) + at;
            named[count++] = offsetof(struct heap, checking) + at;
            if (!of_heap)
                named[count++] = root + offsetof(struct object, mutex) + at;
        }
        for (uint64_t k = 0; k < count; k++) {
            put_word(undo, 2);
            put_word(log, offsetof(struct heap, root));
            put_word(log + 8, root);
            put_word(log + 16, named[k]);
            put_word(log + 24, values[i / 2]);
            let_the_owner_die(of_heap ? 0 : root);
            put_bytes(image.bytes, image.size, 0);
        }
    }
    free(image.bytes);
}

/* A live process that has never mapped the heap. */
static pid_t start_bystander(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        for (;;)
            pause();
    }
    assert_true(pid > 0);
    return pid;
}

static void end_bystander(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_mutex_that_nobody_can_give_back_is_refused(void **state)
{
    struct image image = manager_image();
    uint64_t root = atomic_load(&((const struct heap *)(const void *)image.bytes)->root);
    pid_t bystander = start_bystander();
    const uint32_t owners[] = {0x3fffffff, 0x80000000, 0xbfffffff, (uint32_t)bystander,
                               (uint32_t)bystander | 0x80000000};
    (void)state;

    put_file(&image, image.size);
    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++) {
        put_bytes(&owners[i], 4, offsetof(struct heap, mutex));
        assert_int_equal(open_manager(), MP_ECORRUPT);
        put_bytes(&(uint32_t){0}, 4, offsetof(struct heap, mutex));
        put_bytes(&owners[i], 4, root + offsetof(struct object, mutex));
        assert_int_equal(open_manager(), MP_ECORRUPT);
        put_bytes(&(uint32_t){0}, 4, root + offsetof(struct object, mutex));
    }
    assert_int_equal(open_manager(), 0);
    end_bystander(bystander);
    free(image.bytes);
}

static void a_lock_that_nobody_can_give_back_is_refused(void **state)
{
    struct image image = lock_image();
    uint64_t root = atomic_load(&((const struct heap *)(const void *)image.bytes)->root);
    (void)state;

    put_file(&image, image.size);
    pid_t bystander = start_bystander();
    put_bytes(&(uint32_t){(uint32_t)bystander}, 4, root + offsetof(struct object, mutex));
    assert_int_equal(open_lock(), MP_ECORRUPT);
    end_bystander(bystander);
    assert_int_equal(open_lock(), MP_ECORRUPT);
    put_bytes(&(uint32_t){0}, 4, root + offsetof(struct object, mutex));
    assert_int_equal(open_lock(), 0);
    free(image.bytes);
}

/* ---- the file ---- */

static void cut_short(int (*open_it)(void), const struct image *image)
{
    put_file(image, image->size);
    for (size_t size = image->size; size-- > 0;) {
        if (size % 4096 > 8 && size % 1361 != 0 && size > offsetof(struct heap, undo))
            continue;
        assert_int_equal(ftruncate(held, (off_t)size), 0);
        assert_int_equal(open_it(), size < sizeof(uint64_t) ? MP_EKIND : MP_ECORRUPT);
    }
}

static void a_truncated_file_is_refused(void **state)
{
    struct image image = manager_image();
    (void)state;

    cut_short(open_manager, &image);
    free(image.bytes);
}

static void a_truncated_lock_is_refused(void **state)
{
    struct image image = lock_image();
    (void)state;

    cut_short(open_lock, &image);
    free(image.bytes);
}

static void a_longer_file_is_an_unfinished_growth(void **state)
{
    struct image image = manager_image();
    mp_manager *manager;
    (void)state;

    put_file(&image, image.size);
    assert_int_equal(ftruncate(held, (off_t)image.size + 12345), 0);
    assert_int_equal(mp_manager_open(&manager, name, NULL), 0);
    assert_int_equal(mp_manager_check(manager), 0);
    use(manager);
    assert_int_equal(mp_manager_free(manager), 0);
    free(image.bytes);
}

/* Opens and makes both kinds. If `created` is 0, they replace what is there. */
static void expect_all(int opened, int created)
{
    mp_manager *manager;
    mp_lock *lock;

    assert_int_equal(open_manager(), opened);
    assert_int_equal(open_lock(), opened);
    assert_int_equal(mp_manager_create(&manager, &(mp_manager_options){.name = name}), created);
    assert_int_equal(mp_lock_create(&lock, &(mp_lock_options){name}), created);
    assert_int_equal(mp_lock_unlink(name), created);
}

static void of_another_user_or_mode(void **state)
{
    struct image image = manager_image();
    (void)state;

    put_file(&image, image.size);
    const mode_t modes[] = {0601, 0602, 0604, 0610, 0620, 0640, 0666, 0700 | 07, 04644};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(fchmod(held, modes[i]), 0);
        expect_all(MP_EACCESS, MP_EACCESS);
    }
    assert_int_equal(fchmod(held, 0600), 0);
    if (geteuid() == 0) {
        assert_int_equal(fchown(held, STRANGER, STRANGER), 0);
        expect_all(MP_EACCESS, MP_EACCESS);
        assert_int_equal(fchown(held, 0, 0), 0);
    }
    assert_int_equal(open_manager(), 0);
    free(image.bytes);
}

/* Names belong to users: another user's object cannot be reached, and cannot be linked under this user's name. */
static int as_stranger(void)
{
    char theirs[100];

    if (setgid(STRANGER) != 0 || setuid(STRANGER) != 0)
        return 1;
    if (open_manager() != MP_ENOENT)
        return 2;
    snprintf(theirs, sizeof theirs, "/dev/shm/libmp-%d-%s", STRANGER, name);
    if (link(path, theirs) == 0 || symlink(path, theirs) != 0)
        return 3;
    int error = open_manager();
    return unlink(theirs) != 0 || error != MP_EACCESS ? 4 : 0;
}

static void a_stranger_does_not_get_in(void **state)
{
    struct image image = manager_image();
    int status;
    (void)state;

    put_file(&image, image.size);
    if (geteuid() == 0) {
        pid_t pid = fork();

        if (pid == 0)
            _exit(as_stranger());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 3 << 8) /* 3: hard links are not protected here, see the test above */
            assert_int_equal(status, 0);
    }
    free(image.bytes);
}

static void a_symbolic_link(void **state)
{
    struct image image = manager_image();
    char target[110];
    (void)state;

    assert_int_equal(symlink("/nowhere/at/all", path), 0);
    expect_all(MP_EACCESS, MP_EACCESS);
    assert_int_equal(unlink(path), 0);
    /* A link to a sound heap is refused as well. */
    snprintf(target, sizeof target, "%s-target", path);
    put_file(&image, image.size);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink(target, path), 0);
    expect_all(MP_EACCESS, MP_EACCESS);
    assert_int_equal(unlink(target), 0);
    free(image.bytes);
}

static void a_directory_a_pipe_a_socket_a_device(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)state;

    assert_int_equal(mkdir(path, 0700), 0);
    expect_all(MP_EKIND, MP_EKIND);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_all(MP_EKIND, MP_EKIND);
    assert_int_equal(unlink(path), 0);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    expect_all(MP_EKIND, MP_EKIND);
    close(fd);
    assert_int_equal(unlink(path), 0);
    /* MP_EKIND where the file system allows devices; MP_EACCESS where it is mounted without them. */
    if (mknod(path, S_IFCHR | 0600, makedev(1, 3)) == 0) {
        int error = open_manager();

        assert_true(error == MP_EKIND || error == MP_EACCESS);
        expect_all(error, error);
        assert_int_equal(unlink(path), 0);
    }
}

/* ---- objects of dead processes ---- */

static int make_manager(void)
{
    mp_manager *manager;
    int error = mp_manager_create(&manager, &(mp_manager_options){.name = name});

    if (error == 0) {
        assert_int_equal(mp_manager_check(manager), 0);
        assert_int_equal(mp_manager_free(manager), 0);
    }
    return error;
}

static int open_or_make_manager(void)
{
    mp_manager *manager;
    int error = mp_manager_open_or_create(&manager, name, NULL, NULL);

    if (error == 0)
        assert_int_equal(mp_manager_free(manager), 0);
    return error;
}

static int make_lock(void)
{
    mp_lock *lock;
    int error = mp_lock_create(&lock, &(mp_lock_options){name});

    if (error == 0)
        assert_int_equal(mp_lock_free(lock), 0);
    return error;
}

static int unlink_manager(void)
{
    return mp_manager_unlink(name);
}

static int unlink_lock(void)
{
    return mp_lock_unlink(name);
}

/* Every call that looks at a name, and its result when a stale manager has that name. */
static const struct {
    int (*call)(void);
    int stale;
} calls[] = {
    {open_manager, MP_ENOENT}, {make_manager, 0}, {open_or_make_manager, 0},
    {unlink_manager, 0},       {open_lock, 0},    {make_lock, 0},
    {unlink_lock, MP_EKIND},
};
#define CALLS (sizeof calls / sizeof *calls)

/* The file begins like a heap, and may continue in any way. No process has it open, so it is stale and makes way. */
static void a_stale_file_makes_way(void **state)
{
    struct image image = manager_image();
    const size_t sizes[] = {16, 100, 5000, image.size};
    (void)state;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t k = 0; k < CALLS; k++) {
            put_file(&image, sizes[i]);
            close(held);
            held = -1;
            int error = calls[k].call();
            /* MP_ENOENT: another program (a parallel test) removed it first. */
            assert_true(error == calls[k].stale || error == MP_ENOENT);
            assert_int_not_equal(access(path, F_OK), 0);
        }
    }
    free(image.bytes);
}

static void put_text(const char *text, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), size);
    close(fd);
}

/* A file of this user that does not belong to the library: in use, locked exclusively, or neither. */
static void a_foreign_file_stays(void **state)
{
    static const char zeros[8192];
    const struct {
        const char *bytes;
        size_t size;
    } files[] = {{"", 0}, {"precious", 8}, {"a text that is a little longer", 30}, {zeros, 4096}, {zeros, 8192}};
    const int locks[] = {LOCK_UN, LOCK_SH, LOCK_EX};
    (void)state;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        for (size_t l = 0; l < sizeof locks / sizeof *locks; l++) {
            put_text(files[i].bytes, files[i].size);
            held = open(path, O_RDWR | O_CLOEXEC);
            assert_int_equal(flock(held, locks[l]), 0);
            for (size_t k = 0; k < CALLS; k++) {
                struct stat file;

                assert_int_equal(calls[k].call(), MP_EKIND);
                assert_int_equal(stat(path, &file), 0);
                assert_int_equal(file.st_size, files[i].size);
            }
            close(held);
            held = -1;
            assert_int_equal(unlink(path), 0);
        }
    }
}

/* A process keeps an exclusive lock on the file for ever, or has a lease on it. */
static void a_lock_for_ever_is_not_waited_for(void **state)
{
    struct image image = manager_image();
    (void)state;

    put_file(&image, image.size);
    assert_int_equal(flock(held, LOCK_EX), 0);
    for (size_t k = 0; k < CALLS; k += 3) {
        double begin = now();

        assert_int_equal(calls[k].call(), MP_EAGAIN);
        assert_true(now() - begin < 20);
    }
    assert_int_equal(flock(held, LOCK_SH), 0);
    assert_int_equal(open_manager(), 0);
    close(held);
    /* A write lease: while it is held, no other process may open the file. */
    held = open(path, O_RDWR | O_CLOEXEC);
    signal(SIGIO, SIG_IGN);
    if (held >= 0 && fcntl(held, F_SETLEASE, F_WRLCK) == 0) {
        double begin = now();
        int error = open_manager();

        assert_true(error == MP_EAGAIN || error == MP_ENOENT);
        assert_true(now() - begin < 20);
    }
    signal(SIGIO, SIG_DFL);
    free(image.bytes);
}

/* These run in a process of their own, one way each. 0: as expected; 77: the system does not allow it. */
/* No call removes the file, except that another program, which does not have these mounts, may do so. */
static int none_removes_it(void)
{
    for (size_t k = 0; k < CALLS; k++) {
        int error = calls[k].call();

        if ((error == MP_ENOENT || error == 0) && access(path, F_OK) != 0)
            return 0;
        if (error != MP_ESYSTEM && !(calls[k].stale == MP_EKIND && error == MP_EKIND))
            return 1 + (int)k;
    }
    return 0;
}

static int on_a_mount_point(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(path, path, NULL, MS_BIND, NULL) != 0)
        return 77;
    int failed = none_removes_it();
    return umount2(path, MNT_DETACH) == 0 || access(path, F_OK) != 0 ? failed : 50;
}

static int on_a_file_system_without_writing(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("/dev/shm", "/dev/shm", NULL, MS_BIND, NULL) != 0 ||
        mount(NULL, "/dev/shm", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0)
        return 77;
    return none_removes_it();
}

/* The file belongs to this user, the directory does not. */
static int in_a_directory_without_writing(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/dev/shm", "tmpfs", 0, "mode=0755") != 0)
        return 77;
    struct image image = manager_image();
    snprintf(path, sizeof path, "/dev/shm/libmp-%d-%s", STRANGER, name);
    put_file(&image, image.size);
    if (fchown(held, STRANGER, STRANGER) != 0 || setgid(STRANGER) != 0 || setuid(STRANGER) != 0)
        return 77;
    close(held);
    return none_removes_it();
}

static int where_unlinking_is_refused(void)
{
#ifdef SYS_unlink
    if (refuse_call(SYS_unlink, EPERM) != 0)
        return 77;
#endif
    return refuse_call(SYS_unlinkat, EPERM) == 0 ? none_removes_it() : 77;
}

static void a_name_that_cannot_be_removed_is_an_error(void **state)
{
    struct image image = manager_image();
    int (*const ways[])(void) = {on_a_mount_point, on_a_file_system_without_writing, in_a_directory_without_writing,
                                 where_unlinking_is_refused};
    int status;
    (void)state;

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        put_file(&image, image.size);
        close(held);
        held = -1;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(60); /* instead of an endless loop */
            _exit(ways[i]());
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 77 << 8)
            assert_int_equal(status, 0);
        unlink(path);
    }
    free(image.bytes);
}

/* Objects left by killed processes are removed when any named object is made or opened. */
static void stale_names_do_not_stay(void **state)
{
    struct image image = manager_image();
    char others[8][120], mine[100];
    (void)state;

    memcpy(mine, path, sizeof mine);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 8; i++) {
            if (i < 7)
                snprintf(others[i], sizeof others[i], "%.80s-other-%d", mine, i);
            else
                snprintf(others[i], sizeof others[i], "/dev/shm/libmp-%lu.%d", (unsigned long)geteuid(), (int)getpid());
            memcpy(path, others[i], sizeof path);
            put_file(&image, i == 7 ? 0 : image.size);
            close(held);
            held = -1;
        }
        memcpy(path, mine, sizeof path);
        /* In the second round, the sweep of the first may be too recent for another. */
        double end = now() + 5;
        bool left = true;
        while (left && now() < end) {
            assert_int_equal(round == 0 ? make_manager() : open_lock(), 0);
            left = false;
            for (int i = 0; i < 8; i++)
                left |= access(others[i], F_OK) == 0;
        }
        assert_false(left);
    }
    free(image.bytes);
}

static _Noreturn void create_and_drop_for_ever(void)
{
    mp_manager *manager;

    for (;;) {
        if (mp_manager_create(&manager, &(mp_manager_options){.name = name}) == 0)
            mp_manager_free(manager);
    }
}

/* A creator that is killed at any moment leaves nothing that others see as an incomplete manager. */
static void a_killed_creator_leaves_nothing_half_made(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        mp_manager *manager;
        int status;
        pid_t pid = fork();

        if (pid == 0)
            create_and_drop_for_ever();
        for (int k = 0; k < i % 5; k++) {
            int error = mp_manager_open(&manager, name, NULL);

            assert_true(error == 0 || error == MP_ENOENT);
            if (error == 0) {
                assert_int_equal(mp_manager_check(manager), 0);
                assert_int_equal(mp_manager_free(manager), 0);
            }
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(mp_manager_create(&manager, &(mp_manager_options){.name = name}), 0);
        use(manager);
        assert_int_equal(mp_manager_free(manager), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_damaged_header_is_refused),
        TEST(a_damaged_header_of_a_lock_is_refused),
        TEST(another_version_is_told_from_damage),
        TEST(damaged_bookkeeping_is_found_or_does_no_harm),
        TEST(lengths_that_lie),
        TEST(the_log_of_a_dead_owner_may_lie),
        TEST(the_log_may_lie_anywhere),
        TEST(a_log_may_name_itself_and_mutexes),
        TEST(words_that_lead_nowhere),
        TEST(a_mutex_that_nobody_can_give_back_is_refused),
        TEST(a_lock_that_nobody_can_give_back_is_refused),
        TEST(a_truncated_file_is_refused),
        TEST(a_truncated_lock_is_refused),
        TEST(a_longer_file_is_an_unfinished_growth),
        TEST(of_another_user_or_mode),
        TEST(a_stranger_does_not_get_in),
        TEST(a_symbolic_link),
        TEST(a_directory_a_pipe_a_socket_a_device),
        TEST(a_stale_file_makes_way),
        TEST(a_foreign_file_stays),
        TEST(a_lock_for_ever_is_not_waited_for),
        TEST(a_name_that_cannot_be_removed_is_an_error),
        TEST(stale_names_do_not_stay),
        TEST(a_killed_creator_leaves_nothing_half_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
