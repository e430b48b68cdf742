/* A fuzzer of named heaps: takes the bytes of a sound heap, changes them as the input says, and opens the result as a
 * second program would. It enforces these promises:
 *
 * - Opening gives an error or works.
 * - mp_manager_check() gives an error or says that the heap is sound.
 * - A heap that is called sound works in every way, and is sound afterwards.
 * - There is never a crash and never a hang.
 *
 * With libFuzzer this is a target like any other (-DMP_LIBFUZZER=ON). Without it, driver.c feeds it inputs made from
 * seeds. */
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostile_heap.h"
#include "object/object.h"

/* Opening must give one of these errors. */
static void require_documented(int error)
{
    if (error == 0 || error == MP_ECORRUPT || error == MP_EVERSION || error == MP_EKIND)
        return;
    fprintf(stderr, "opening: %s\n", mp_strerror(error));
    abort();
}

/* Prints the failed condition and aborts like a crash, so that either driver keeps the input. */
#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

enum { MOST_OBJECTS = 64 };

/* A sound heap, and the places in it that are worth changing. */
struct image {
    const char *name;
    char path[120];
    unsigned char *sound, *changed;
    size_t size;
    uint32_t *word; /* offsets of words that are not zero */
    size_t words;
    uint64_t mutex[MOST_OBJECTS + 1];
    size_t mutexes;
};

struct hostile_counts hostile_counts;

static struct image manager_image, lock_image;

/* ---- making the images ---- */

static int64_t memory_ref;

static void make_memory(mp_manager *manager)
{
    void *memory, *given_back;

    REQUIRE(mp_manager_alloc(manager, 1000, &given_back) == 0 && mp_manager_alloc(manager, 3000, &memory) == 0);
    REQUIRE(mp_memory_ref(memory, &memory_ref) == 0 && mp_memory_free(given_back) == 0);
    memset(memory, 'm', 3000);
}

/* A list whose first segment is missing. Its cells hold none, which is all zeros, so they are not among the changed
 * words. */
static void make_long_list(mp_manager *manager, mp_dict *root)
{
    mp_list *list;

    REQUIRE(mp_manager_list(manager, &list) == 0);
    for (int i = 0; i < 3100; i++)
        REQUIRE(mp_list_append(list, i < 3090 ? mp_value_none() : mp_value_int(i)) == 0);
    for (int i = 0; i < 2070; i++)
        REQUIRE(mp_list_pop(list, 0, NULL) == 0);
    REQUIRE(mp_dict_set_list(root, "long", list) == 0 && mp_list_free(list) == 0);
}

static void fill_dict(mp_manager *manager, mp_dict *root)
{
    mp_dict *inner, *large;
    mp_list *list, *empty;
    char key[40];

    REQUIRE(mp_manager_dict(manager, &inner) == 0 && mp_manager_dict(manager, &large) == 0);
    REQUIRE(mp_manager_list(manager, &list) == 0 && mp_manager_list(manager, &empty) == 0);
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof key, i % 3 == 0 ? "a key of more than sixteen bytes %d" : "key %d", i);
        REQUIRE(mp_dict_set(inner, mp_value_str(key),
                            i % 2 ? mp_value_int(i) : mp_value_str("a value in a block of its own")) == 0);
        REQUIRE(mp_list_append(list, i % 2 ? mp_value_float(i) : mp_value_str(key)) == 0);
    }
    for (int i = 0; i < 1100; i++)
        REQUIRE(mp_dict_set(large, mp_value_int(i), mp_value_int(i)) == 0);
    for (int i = 0; i < 40; i += 5)
        REQUIRE(mp_dict_remove(inner, i % 3 == 0 ? mp_value_str("key 1") : mp_value_str("key 2")) != MP_ETYPE);
    REQUIRE(mp_list_pop(list, 0, NULL) == 0 && mp_list_append_list(list, empty) == 0 &&
            mp_list_append_dict(list, root) == 0);
    REQUIRE(mp_dict_set(root, mp_value_none(), mp_value_none()) == 0 &&
            mp_dict_set(root, mp_value_bool(true), mp_value_bool(false)) == 0);
    REQUIRE(mp_dict_set(root, mp_value_float(0.5), mp_value_bytes("\0\1", 2)) == 0 &&
            mp_dict_set(root, mp_value_bytes("b", 1), mp_value_int(7)) == 0);
    REQUIRE(mp_dict_set_dict(root, "inner", inner) == 0 && mp_dict_set_dict(root, "large", large) == 0);
    REQUIRE(mp_dict_set_list(root, "list", list) == 0 && mp_dict_free(inner) == 0 && mp_list_free(empty) == 0);
    REQUIRE(mp_manager_list(manager, &empty) == 0 && mp_list_free(empty) == 0); /* a spare object */
}

static void read_image(struct image *image, const char *path)
{
    struct stat file;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    REQUIRE(fd >= 0 && fstat(fd, &file) == 0);
    image->size = (size_t)file.st_size;
    image->sound = malloc(image->size);
    image->changed = malloc(image->size);
    image->word = malloc(image->size / 8 * sizeof *image->word);
    REQUIRE(image->sound != NULL && image->changed != NULL && image->word != NULL);
    REQUIRE(read(fd, image->sound, image->size) == (ssize_t)image->size);
    close(fd);
    for (size_t at = 0; at < image->size; at += 8) {
        uint64_t word;

        memcpy(&word, image->sound + at, 8);
        if (word != 0)
            image->word[image->words++] = (uint32_t)at;
    }
    const struct heap *heap = (const struct heap *)(const void *)image->sound;
    image->mutex[image->mutexes++] = offsetof(struct heap, mutex);
    for (uint64_t at = heap->objects; at != 0 && image->mutexes <= MOST_OBJECTS;) {
        image->mutex[image->mutexes++] = at + offsetof(struct object, mutex);
        at = ((const struct object *)(const void *)(image->sound + at))->next_all;
    }
}

static void make_images(void)
{
    static char names[2][40];
    mp_manager *manager;
    mp_dict *root;
    mp_lock *lock;
    struct image *images[] = {&manager_image, &lock_image};

    for (int i = 0; i < 2; i++) {
        snprintf(names[i], sizeof names[i], "fuzz-%s-%d", i == 0 ? "manager" : "lock", (int)getpid());
        images[i]->name = names[i];
        snprintf(images[i]->path, sizeof images[i]->path, "/dev/shm/libmp-%lu-%s", (unsigned long)geteuid(), names[i]);
    }
    REQUIRE(mp_manager_create(&manager, &(mp_manager_options){names[0], 16 << 20}) == 0);
    REQUIRE(mp_manager_root(manager, &root) == 0);
    fill_dict(manager, root);
    make_long_list(manager, root);
    make_memory(manager);
    REQUIRE(mp_manager_check(manager) == 0);
    read_image(&manager_image, manager_image.path);
    REQUIRE(mp_manager_free(manager) == 0);
    REQUIRE(mp_lock_create(&lock, &(mp_lock_options){names[1]}) == 0);
    read_image(&lock_image, lock_image.path);
    REQUIRE(mp_lock_free(lock) == 0);
}

/* ---- changing the images ---- */

/* One change, as the input has it. */
struct change {
    uint8_t kind, from;
    uint16_t value;
    uint32_t at;
};

/* A word that may pass for a valid one. */
static uint64_t likely_word(const struct image *image, struct change change)
{
    uint64_t word;

    switch (change.from % 6) {
    case 0:
        return change.value;
    case 1:
        return UINT64_MAX - change.value;
    case 2: /* the content of another word */
        memcpy(&word, image->sound + image->word[change.value % image->words], 8);
        return word;
    case 3: /* the offset of something, with any kind of ref */
        return image->word[change.value % image->words] / 16 * 16 + change.at % 7;
    case 4:
        return (uint64_t)1 << change.value % 64;
    default: /* near the end */
        return image->size + 64 - change.value % 256;
    }
}

static void apply(struct image *image, struct change change, size_t *size)
{
    size_t at = change.kind & 128 ? change.at % (image->size - 8) / 8 * 8 : image->word[change.at % image->words];
    uint64_t word;

    memcpy(&word, image->changed + at, 8);
    switch (change.kind % 8) {
    case 0:
        word ^= UINT64_C(1) << change.value % 64;
        break;
    case 1:
        word += (uint64_t)(int64_t)(int16_t)change.value;
        break;
    case 2:
        word = (word & ~UINT64_C(0xff)) | (change.value & 0xff);
        break;
    case 3: /* the owner of a mutex has died */
        at = image->mutex[change.at % image->mutexes];
        memcpy(&word, image->changed + at, 8);
        word |= UINT64_C(0x40000000);
        break;
    case 4:
        if (change.from == 0)
            *size = change.at % (image->size + 1);
        break;
    default:
        word = likely_word(image, change);
        break;
    }
    memcpy(image->changed + at, &word, 8);
}

/* A live process named as the owner of a mutex might really hold it, and would be waited for. Clears such mutexes. */
static void spare_the_living(struct image *image)
{
    for (size_t i = 0; i < image->mutexes; i++) {
        uint32_t word;

        memcpy(&word, image->changed + image->mutex[i], 4);
        if ((word & 0x40000000) == 0 && (word & 0x3fffffff) != 0 && kill((pid_t)(word & 0x3fffffff), 0) == 0)
            memset(image->changed + image->mutex[i], 0, 4);
    }
}

/* Writes the changed bytes to a file. Returns a descriptor with the lock that marks the file as in use. */
static int put_file(struct image *image, const uint8_t *data, size_t length)
{
    size_t size = image->size;
    struct change change;

    memcpy(image->changed, image->sound, image->size);
    for (; length >= sizeof change; data += sizeof change, length -= sizeof change) {
        memcpy(&change, data, sizeof change);
        apply(image, change, &size);
    }
    spare_the_living(image);
    int fd = open(image->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    /* The file is locked before it looks like a heap: other programs remove stale heaps. */
    REQUIRE(fd >= 0 && flock(fd, LOCK_SH) == 0 && write(fd, image->changed, size) == (ssize_t)size);
    return fd;
}

/* ---- using what was opened ---- */

static void use_list(mp_list *list)
{
    mp_list_iter *iter;
    mp_list *copy;
    mp_value value;

    REQUIRE(mp_list_iter_create(&iter, list) == 0);
    while (mp_list_next(iter, &value) == 0)
        ;
    REQUIRE(mp_list_iter_free(iter) == 0 && mp_list_copy(list, &copy) == 0);
    REQUIRE(mp_list_extend(copy, list) == 0 && mp_list_reverse(copy) == 0 &&
            mp_list_delete_slice(copy, 1, MP_END, 2) == 0);
    REQUIRE(mp_list_insert(list, 1, mp_value_str("something longer than a word")) == 0 && mp_list_delete(list, 0) == 0);
    while (mp_list_pop(copy, 0, &value) == 0) {
        if (value.type == MP_DICT)
            mp_dict_free(value.as.dict);
        else if (value.type == MP_LIST)
            mp_list_free(value.as.list);
        mp_value_free(&value);
    }
    REQUIRE(mp_list_free(copy) == 0);
}

static void use_dict(mp_dict *dict)
{
    mp_dict_iter *iter;
    mp_dict *copy;
    mp_value key, value, found;
    char name[40];

    REQUIRE(mp_dict_copy(dict, &copy) == 0 && mp_dict_iter_create(&iter, dict) == 0);
    while (mp_dict_next(iter, &key, &value) == 0) {
        REQUIRE(mp_dict_get(dict, key, &found) == 0 && found.type == value.type);
        mp_value_free(&found);
        REQUIRE(mp_dict_set(copy, key, mp_value_str("something longer than a word")) == 0);
        if (value.type == MP_LIST)
            use_list(value.as.list);
    }
    REQUIRE(mp_dict_iter_free(iter) == 0);
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "a new key of some length, %d", i);
        REQUIRE(mp_dict_set_int(copy, name, i) == 0);
    }
    while (mp_dict_popitem(copy, &key, &value) == 0) {
        mp_value_free(&key);
        mp_value_free(&value);
    }
    REQUIRE(mp_dict_update(copy, dict) == 0 && mp_dict_clear(copy) == 0 && mp_dict_free(copy) == 0);
}

static void use_memory(mp_manager *manager)
{
    void *memory, *more;
    size_t size;

    if (mp_manager_memory(manager, memory_ref, &memory) == 0) {
        REQUIRE(mp_memory_size(memory, &size) == 0);
        memset(memory, 'x', size);
        REQUIRE(mp_manager_check(manager) == 0 && mp_memory_free(memory) == 0);
    }
    REQUIRE(mp_manager_alloc(manager, 500, &more) == 0 && mp_memory_free(more) == 0);
}

static void use_manager(mp_manager *manager)
{
    mp_dict *root, *inner;
    mp_manager_info info;
    char *text = NULL;

    REQUIRE(mp_manager_root(manager, &root) == 0 && mp_manager_get_info(manager, &info) == 0 && info.used <= info.size);
    int error = mp_dict_json(root, &text);
    REQUIRE(error == 0 || error == MP_EDEPTH);
    free(text);
    use_dict(root);
    if (mp_dict_get_dict(root, "inner", &inner) == 0)
        use_dict(inner);
    use_memory(manager);
    REQUIRE(mp_manager_check(manager) == 0);
    REQUIRE(mp_dict_clear(root) == 0);
    REQUIRE(mp_manager_check(manager) == 0);
}

static void try_manager(void)
{
    mp_manager *manager;
    int error = mp_manager_open(&manager, manager_image.name, NULL);

    require_documented(error);
    hostile_counts.refused += error != 0;
    if (error != 0)
        return;
    error = mp_manager_check(manager);
    REQUIRE(error == 0 || error == MP_ECORRUPT);
    hostile_counts.damaged += error != 0;
    hostile_counts.sound += error == 0;
    if (error == 0)
        use_manager(manager);
    REQUIRE(mp_manager_free(manager) == 0);
}

static void try_lock(void)
{
    mp_lock *lock;
    int error = mp_lock_open(&lock, lock_image.name, NULL);

    require_documented(error);
    hostile_counts.refused += error != 0;
    hostile_counts.sound += error == 0;
    if (error != 0)
        return;
    error = mp_lock_acquire(lock, 0.01);
    REQUIRE(error == 0 || error == MP_EOWNERDEAD || error == MP_ECORRUPT);
    REQUIRE(error == MP_ECORRUPT || mp_lock_release(lock) == 0);
    error = mp_lock_free(lock);
    REQUIRE(error == 0 || error == MP_ECORRUPT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (manager_image.size == 0)
        make_images();
    if (size == 0)
        return 0;
    struct image *image = data[0] % 8 == 0 ? &lock_image : &manager_image;
    int fd = put_file(image, data + 1, size - 1);
    if (image == &lock_image)
        try_lock();
    else
        try_manager();
    unlink(image->path);
    close(fd);
    return 0;
}
