/* What check_gdb.sh looks at: something of everything that src/gdb/libmp.py shows. */
#include <mp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void must(int error)
{
    if (error != 0) {
        fprintf(stderr, "%s\n", mp_strerror(error));
        exit(1);
    }
}

/* A task that fails if it is told to. */
static int work(const void *arg, void *result)
{
    *(int *)result = 1;
    return *(const int *)arg;
}

static volatile int *begun; /* shared with the worker */

static int last(const void *arg, void *result)
{
    (void)arg, (void)result;
    *begun = 1;
    for (;;)
        pause();
    return 0;
}

static void *die_holding(void *lock)
{
    must(mp_lock_acquire(lock, MP_FOREVER));
    return NULL;
}

/* A breakpoint. */
__attribute__((noinline)) void stop_here(void);
void stop_here(void)
{
    __asm__ volatile("");
}

int main(void)
{
    mp_manager *manager;
    mp_dict *dict, *ended, *empty, *root;
    mp_list *list;
    mp_lock *lock, *held, *left;
    pthread_t thread;
    mp_pool *pool;
    mp_result *done, *failed, *map, *running, *queued;
    mp_value value[8];
    mp_value broken = mp_value_strn((const char *)16, 5), strange = {.type = (mp_type)77};
    mp_dict *garbage = (mp_dict *)(uintptr_t)0x1234567890, *null = NULL;
    mp_list *wrong;
    char text[101] = {0};
    int code = 0, seven = 7, out[4];

    begun = mmap(NULL, sizeof *begun, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (begun == MAP_FAILED)
        return 1;
    memset(text, 'x', sizeof text - 1);
    must(mp_manager_create(&manager, NULL));
    must(mp_manager_dict(manager, &dict));
    must(mp_manager_dict(manager, &empty));
    must(mp_manager_dict(manager, &ended));
    must(mp_manager_list(manager, &list));
    must(mp_dict_free(ended));
    wrong = (mp_list *)dict;
    for (int i = 0; i < 20; i++)
        must(mp_list_append_int(list, i));
    must(mp_list_delete(list, 3)); /* a gap */
    must(mp_dict_set_int(dict, "count", -5));
    must(mp_dict_set_float(dict, "real", 2.5));
    must(mp_dict_set_bool(dict, "yes", true));
    must(mp_dict_set_none(dict, "nothing"));
    must(mp_dict_set_str(dict, "gone", "gone"));
    must(mp_dict_remove_key(dict, "gone"));
    must(mp_dict_set_str(dict, "a key of more than sixteen bytes", "a \"long\" text\n"));
    must(mp_dict_set_str(dict, "x", text));
    must(mp_dict_set_list(dict, "list", list));
    must(mp_dict_set_dict(dict, "dict", empty));
    must(mp_manager_root(manager, &root));
    must(mp_dict_set_int(root, "root", 1));
    must(mp_lock_create(&lock, NULL));
    must(mp_lock_create(&held, NULL));
    must(mp_lock_acquire(held, MP_FOREVER));
    must(mp_lock_create(&left, NULL));
    if (pthread_create(&thread, NULL, die_holding, left) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    value[0] = mp_value_none(), value[1] = mp_value_bool(false), value[2] = mp_value_int(INT64_MIN);
    value[3] = mp_value_float(0.1), value[4] = mp_value_str("text"), value[5] = mp_value_bytes("\0\1", 2);
    value[6] = mp_value_dict(empty), value[7] = mp_value_list(list);

    must(mp_pool_create(&pool, 1, NULL));
    must(mp_pool_apply_async(pool, work, &code, sizeof code, sizeof out[0], &done));
    must(mp_pool_apply_async(pool, work, &seven, sizeof seven, sizeof out[0], &failed));
    must(mp_pool_map_async(pool, work, (int[4]){0}, sizeof code, sizeof out[0], 4, &map, NULL));
    must(mp_result_wait(map, MP_FOREVER));
    must(mp_pool_apply_async(pool, last, NULL, 0, 0, &running));
    must(mp_pool_apply_async(pool, work, &code, sizeof code, sizeof out[0], &queued));
    while (*begun == 0)
        usleep(1000);
    stop_here();
    (void)value, (void)broken, (void)strange, (void)garbage, (void)null, (void)wrong;
    return 0;
}
