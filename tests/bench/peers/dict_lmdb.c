/* LMDB: a transaction for each operation, so that each is atomic and seen by the others. Its file is in memory and is
 * neither waited for nor written by calls (MDB_NOSYNC, MDB_WRITEMAP), and a process uses its read transaction again
 * (mdb_txn_renew): what LMDB has that is fast. Only what the sweeps put in at the start goes in by large
 * transactions. */
#include <lmdb.h>
#include <mp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../dict_works.h"

static char *path;
static size_t map_size;
static MDB_env *env;
static MDB_dbi dbi;
static MDB_txn *reader;

static void check(int code, const char *call)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s\n", call, mdb_strerror(code));
    _exit(1);
}
#define CHECK(call) check((call), #call)

static void open_env(void)
{
    MDB_txn *txn;

    CHECK(mdb_env_create(&env));
    CHECK(mdb_env_set_mapsize(env, map_size));
    CHECK(mdb_env_set_maxreaders(env, 2 * BENCH_MAX_PROCESSES));
    CHECK(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOSYNC | MDB_WRITEMAP, 0600));
    CHECK(mdb_txn_begin(env, NULL, 0, &txn));
    CHECK(mdb_dbi_open(txn, NULL, 0, &dbi));
    CHECK(mdb_txn_commit(txn));
    CHECK(mdb_txn_begin(env, NULL, MDB_RDONLY, &reader));
    mdb_txn_reset(reader);
}

static void close_env(void)
{
    mdb_txn_abort(reader);
    mdb_env_close(env);
    env = NULL;
}

static void remove_files(void)
{
    char lock[4096];

    unlink(path);
    snprintf(lock, sizeof lock, "%s-lock", path);
    unlink(lock);
}

static void make(size_t entries)
{
    map_size = entries * 512 + ((size_t)64 << 20);
    path = bench_file("lmdb");
    remove_files();
    open_env();
}

static void end(void)
{
    close_env();
    remove_files();
    free(path);
}

/* An environment must not be used across a fork; the parent's stays as it is, the child opens its own. */
static void enter(void)
{
    open_env();
}

static MDB_val key_value(const char *key)
{
    return (MDB_val){KEY_LENGTH, (void *)(uintptr_t)key};
}

static void put(MDB_txn *txn, const char *key, int64_t value)
{
    MDB_val k = key_value(key), v = {sizeof value, &value};

    CHECK(mdb_put(txn, dbi, &k, &v, 0));
}

static void set(const char *key, int64_t value)
{
    MDB_txn *txn;

    CHECK(mdb_txn_begin(env, NULL, 0, &txn));
    put(txn, key, value);
    CHECK(mdb_txn_commit(txn));
}

static int64_t get_in(MDB_txn *txn, const char *key)
{
    MDB_val k = key_value(key), v;
    int64_t value;

    CHECK(mdb_get(txn, dbi, &k, &v));
    memcpy(&value, v.mv_data, sizeof value);
    return value;
}

static int64_t get(const char *key)
{
    int64_t value;

    CHECK(mdb_txn_renew(reader));
    value = get_in(reader, key);
    mdb_txn_reset(reader);
    return value;
}

static void add(const char *key, int64_t delta)
{
    MDB_txn *txn;

    CHECK(mdb_txn_begin(env, NULL, 0, &txn));
    put(txn, key, get_in(txn, key) + delta);
    CHECK(mdb_txn_commit(txn));
}

static void fill(size_t first, size_t count)
{
    MDB_txn *txn;
    char key[KEY_SIZE];

    CHECK(mdb_txn_begin(env, NULL, 0, &txn));
    for (size_t i = first; i < first + count; i++) {
        dict_key(i, key);
        put(txn, key, (int64_t)i);
    }
    CHECK(mdb_txn_commit(txn));
}

static size_t iterate(void)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    size_t met = 0;

    CHECK(mdb_txn_renew(reader));
    CHECK(mdb_cursor_open(reader, dbi, &cursor));
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        volatile char value = *(const char *)v.mv_data;

        (void)value;
        met++;
    }
    mdb_cursor_close(cursor);
    mdb_txn_reset(reader);
    return met;
}

static size_t memory(void)
{
    MDB_envinfo info;
    MDB_stat stat;

    CHECK(mdb_env_info(env, &info));
    CHECK(mdb_env_stat(env, &stat));
    return (info.me_last_pgno + 1) * stat.ms_psize;
}

int main(int argc, char **argv)
{
    static const struct store store = {.system = "LMDB",
                                       .part = 10,
                                       .most = 10000000,
                                       .make = make,
                                       .end = end,
                                       .enter = enter,
                                       .leave = close_env,
                                       .set = set,
                                       .get = get,
                                       .add = add,
                                       .iterate = iterate,
                                       .memory = memory,
                                       .fill = fill};

    bench_begin(argc, argv);
    dict_works(&store);
    return 0;
}
