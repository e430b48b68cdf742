#include "containers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "heap/heap_create.h"
#include "heap/heap_file.h"
#include "object/object_lock.h"

#define LONGEST_TEXT 200000

struct containers scene;

void must(int error, const char *call)
{
    if (error == 0)
        return;
    fprintf(stderr, "%s: %s\n", call, mp_strerror(error));
    abort();
}

const char *text_of(size_t length)
{
    static char text[LONGEST_TEXT + 1];

    for (size_t i = 0; text[0] == 0 && i < LONGEST_TEXT; i++)
        text[LONGEST_TEXT - 1 - i] = (char)('a' + i % 26);
    return text + LONGEST_TEXT - length;
}

/* Containers that the siblings have made. The struct is shared memory at the same address in all siblings. */
static struct {
    mp_dict *dict;
    mp_list *list;
    uint32_t word;
} * kept;

static struct heap *heap(void)
{
    return (struct heap *)scene.manager;
}

static void make_four(void)
{
    OK(mp_manager_dict(scene.manager, &scene.dict));
    OK(mp_manager_dict(scene.manager, &scene.other));
    OK(mp_manager_list(scene.manager, &scene.list));
    OK(mp_manager_list(scene.manager, &scene.more));
}

static void free_four(void)
{
    OK(mp_dict_free(scene.dict));
    OK(mp_dict_free(scene.other));
    OK(mp_list_free(scene.list));
    OK(mp_list_free(scene.more));
}

/* The four containers lie in places that were used before, so their generation is not 0. */
static struct heap *create(void)
{
    text_of(0); /* builds the table here, so that no victim has to */
    if (kept == NULL)
        kept = mmap(NULL, sizeof *kept, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    OK(mp_manager_create(&scene.manager, NULL));
    /* A fixed seed: every run of the program has the same hashes, so a point keeps its number. */
    heap()->seed[0] = UINT64_C(0x0123456789abcdef);
    heap()->seed[1] = UINT64_C(0xfedcba9876543210);
    heap()->checksum = heap_header_checksum(heap());
    make_four();
    free_four();
    make_four();
    return heap();
}

void use_up_places(void)
{
    mp_dict *made;

    while (atomic_load(&heap()->spare) != 0)
        OK(mp_manager_dict(scene.manager, &made));
}

static void destroy(void)
{
    OK(mp_manager_free(scene.manager));
}

static void recover(void)
{
    heap_recover(heap());
    for (uint64_t at = atomic_load(&heap()->objects); at != 0;) {
        struct object *object = heap_at(heap(), at);

        if (object_lock(object_handle(object), object_kind(object)) == 0)
            object_unlock(object);
        at = atomic_load(&object->next_all);
    }
}

/* ---- inspecting ---- */

static char *json_of(void *handle)
{
    char *text = NULL;
    int error = MP_EINVAL;

    if (object_is(handle, OBJECT_DICT))
        error = mp_dict_json(handle, &text);
    else if (object_is(handle, OBJECT_LIST))
        error = mp_list_json(handle, &text);
    else
        return strdup("gone");
    /* The container is gone: the recovery reclaimed it. */
    if (error == MP_EINVAL)
        return strdup("gone");
    if (error != 0)
        report_problem("a container cannot be printed: %s", mp_strerror(error));
    return error == 0 ? text : strdup("?");
}

/* The scene's containers as readers without a lock see them. */
static char *look(void)
{
    char *text = NULL, *all = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&all, &size);
    mp_value value;
    size_t length = 0;
    int error;

    for (int i = 0; i < 8; i++) {
        const char *keys[] = {"a", "b", "c", "k0", "k1", "k9", "key of more than sixteen characters", "new"};

        error = mp_dict_get(scene.dict, mp_value_str(keys[i]), &value);
        if (error == 0) {
            must(mp_value_json(&value, &text), "mp_value_json");
            fprintf(stream, "%s ", text);
            free(text);
            mp_value_free(&value);
        } else if (error != MP_EKEY && error != MP_EINVAL) {
            report_problem("mp_dict_get(%s): %s", keys[i], mp_strerror(error));
        }
    }
    error = mp_list_length(scene.list, &length);
    for (int64_t i = -3; i < 3; i++) {
        error = mp_list_get(scene.list, i, &value);
        if (error == 0) {
            must(mp_value_json(&value, &text), "mp_value_json");
            fprintf(stream, "%s ", text);
            free(text);
            mp_value_free(&value);
        } else if (error != MP_EINDEX && error != MP_EINVAL) {
            report_problem("mp_list_get(%d): %s", (int)i, mp_strerror(error));
        }
    }
    fclose(stream);
    return all;
}

/* All containers, in the order of their places. */
static char *everything(void)
{
    char *all = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&all, &size);
    uint64_t last = 0;

    for (;;) {
        uint64_t next = UINT64_MAX;

        for (uint64_t at = atomic_load(&heap()->objects); at != 0;) {
            struct object *object = heap_at(heap(), at);

            if (at > last && at < next &&
                (object_is(object_handle(object), OBJECT_DICT) || object_is(object_handle(object), OBJECT_LIST)))
                next = at;
            at = atomic_load(&object->next_all);
        }
        if (next == UINT64_MAX)
            break;
        char *text = json_of(object_handle(heap_at(heap(), next)));
        fprintf(stream, "%s\n", text);
        free(text);
        last = next;
    }
    fclose(stream);
    return all;
}

static void check(const char *when)
{
    int error = mp_manager_check(scene.manager);

    if (error != 0)
        report_problem("%s: mp_manager_check: %s", when, mp_strerror(error));
}

static void expect_same(const char *what, char *before, char *after)
{
    if (strcmp(before, after) != 0)
        report_problem("%s changed by itself: %.200s | %.200s", what, before, after);
    free(before);
    free(after);
}

/* Changes each of the scene's containers and undoes the change. */
static void use_all(void)
{
    mp_dict *dicts[] = {scene.dict, scene.other};
    mp_list *lists[] = {scene.list, scene.more};

    for (int i = 0; i < 2; i++) {
        int error = mp_dict_set_str(dicts[i], "the sibling's key, a long one", text_of(40));

        if (error == 0)
            error = mp_dict_remove_key(dicts[i], "the sibling's key, a long one");
        if (error != 0 && error != MP_EINVAL)
            report_problem("a dict cannot be used: %s", mp_strerror(error));
        error = mp_list_append_str(lists[i], text_of(40));
        if (error == 0)
            error = mp_list_pop(lists[i], -1, NULL);
        if (error != 0 && error != MP_EINVAL)
            report_problem("a list cannot be used: %s", mp_strerror(error));
    }
}

static void inspect(void)
{
    char *seen = look();
    char *dict = json_of(scene.dict), *list = json_of(scene.list);

    check("after the death");
    char *state = everything();
    report_state(state);
    expect_same("what readers see", seen, look());
    expect_same("the dict", dict, json_of(scene.dict));
    expect_same("the list", list, json_of(scene.list));
    use_all();
    expect_same("the whole", state, everything());
    check("after use");
}

/* ---- using again ---- */

static const size_t sizes[] = {24, 40, 100, 300, 1000, 1100, 4000, 20000};
#define SIZES (sizeof sizes / sizeof *sizes)
#define EACH 4

/* The first word of a mutex holds its owner's thread id. When the victim dies, the kernel marks each word that it takes
 * for one of the victim's mutexes. */
static const void *pattern(uint32_t word)
{
    static uint32_t words[20000 / sizeof(uint32_t)];

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        words[i] = word;
    return words;
}

static void need(int error, const char *what)
{
    if (error != 0)
        report_problem("%s: %s", what, mp_strerror(error));
}

static mp_dict *root(void)
{
    mp_dict *dict = NULL;

    need(mp_manager_root(scene.manager, &dict), "mp_manager_root");
    return dict;
}

static void come_and_go(void)
{
    mp_dict *dict;
    mp_list *list;

    for (int i = 0; i < 3; i++) {
        need(mp_manager_dict(scene.manager, &dict), "mp_manager_dict");
        need(mp_manager_list(scene.manager, &list), "mp_manager_list");
        for (int64_t k = 0; k < 20; k++) {
            need(mp_dict_set(dict, mp_value_int(k), mp_value_bytes(pattern(kept->word), 100)), "mp_dict_set");
            need(mp_list_append_int(list, k), "mp_list_append_int");
        }
        need(mp_list_delete(list, 7), "mp_list_delete");
        need(mp_list_free(list), "mp_list_free");
        need(mp_dict_free(dict), "mp_dict_free");
    }
}

static void reuse(pid_t victim)
{
    kept->word = (uint32_t)victim;
    need(mp_manager_dict(scene.manager, &kept->dict), "mp_manager_dict");
    need(mp_manager_list(scene.manager, &kept->list), "mp_manager_list");
    /* The kept containers outlive this process. */
    need(mp_dict_set_dict(root(), "dict", kept->dict), "mp_dict_set_dict");
    need(mp_dict_set_list(root(), "list", kept->list), "mp_dict_set_list");
    need(mp_dict_free(kept->dict), "mp_dict_free");
    need(mp_list_free(kept->list), "mp_list_free");
    come_and_go();
    for (size_t i = 0; i < SIZES * EACH; i++) {
        mp_value value = mp_value_bytes(pattern(kept->word), sizes[i / EACH]);

        need(mp_dict_set(kept->dict, mp_value_int((int64_t)i), value), "mp_dict_set");
        need(mp_list_append(kept->list, value), "mp_list_append");
    }
    use_all();
    come_and_go();
}

static void expect_pattern(int error, mp_value *value, size_t size)
{
    need(error, "what was put beside the stopped one is gone");
    if (error == 0 && (value->size != size || memcmp(value->as.bytes, pattern(kept->word), size) != 0))
        report_problem("what was put beside the stopped one has changed");
    if (error == 0)
        mp_value_free(value);
}

static void take_away(void)
{
    for (size_t i = 0; i < SIZES * EACH; i++) {
        mp_value value;

        int error = mp_dict_get(kept->dict, mp_value_int((int64_t)i), &value);
        expect_pattern(error, &value, sizes[i / EACH]);
        error = mp_list_get(kept->list, (int64_t)i, &value);
        expect_pattern(error, &value, sizes[i / EACH]);
    }
    check("before it is taken away");
    need(mp_dict_clear(root()), "mp_dict_clear");
}

const struct scene containers_scene = {create, destroy, recover, inspect, read_containers, reuse, take_away};
