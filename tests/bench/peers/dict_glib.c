/* GLib's GHashTable with a GMutex around each operation, in the memory of one process: what others do by processes it
 * does by threads. Keys are strings that it owns, values are held in the pointers. */
#include <glib.h>
#include <malloc.h>

#include "../dict_works.h"

static GHashTable *table;
static GMutex mutex;
static size_t memory_before;

static size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static void make(size_t entries)
{
    (void)entries;
    memory_before = allocated();
    table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static void end(void)
{
    g_hash_table_destroy(table);
}

static size_t memory(void)
{
    return allocated() - memory_before;
}

static int64_t look_up(const char *key)
{
    return (int64_t)GPOINTER_TO_SIZE(g_hash_table_lookup(table, key));
}

static void store_value(const char *key, int64_t value)
{
    g_hash_table_insert(table, g_strdup(key), GSIZE_TO_POINTER((size_t)value));
}

static void set(const char *key, int64_t value)
{
    g_mutex_lock(&mutex);
    store_value(key, value);
    g_mutex_unlock(&mutex);
}

static int64_t get(const char *key)
{
    g_mutex_lock(&mutex);
    int64_t value = look_up(key);
    g_mutex_unlock(&mutex);
    return value;
}

static void add(const char *key, int64_t delta)
{
    g_mutex_lock(&mutex);
    store_value(key, look_up(key) + delta);
    g_mutex_unlock(&mutex);
}

static size_t iterate(void)
{
    GHashTableIter iter;
    gpointer key, value;
    size_t met = 0;

    g_mutex_lock(&mutex);
    g_hash_table_iter_init(&iter, table);
    while (g_hash_table_iter_next(&iter, &key, &value))
        met++;
    g_mutex_unlock(&mutex);
    return met;
}

int main(int argc, char **argv)
{
    static const struct store store = {.system = "GHashTable + GMutex",
                                       .threads = true,
                                       .part = 1,
                                       .most = 10000000,
                                       .grows = true,
                                       .make = make,
                                       .end = end,
                                       .set = set,
                                       .get = get,
                                       .add = add,
                                       .iterate = iterate,
                                       .memory = memory};

    bench_begin(argc, argv);
    dict_works(&store);
    return 0;
}
