/* TDB, Samba's database: a file in memory that is never waited for (TDB_NOSYNC), with process-shared mutexes instead of
 * file locks (TDB_MUTEX_LOCKING) and as many hash chains as entries. An add holds the lock of its chain from the look
 * to the change. */
#include <fcntl.h>
#include <mp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <stdbool.h>
#include <sys/types.h>
#include <signal.h>
#include <tdb.h>

#include "../dict_works.h"

static char *path;
static struct tdb_context *tdb;

static void check(bool good, const char *call)
{
    if (good)
        return;
    fprintf(stderr, "%s: %s\n", call, tdb == NULL ? "failed" : tdb_errorstr(tdb));
    _exit(1);
}
#define CHECK(condition) check((condition), #condition)

static void make(size_t entries)
{
    int chains = (int)(entries < 1000000 ? entries : 1000000) | 1;

    path = bench_file("tdb");
    tdb = tdb_open(path, chains, TDB_NOSYNC | TDB_CLEAR_IF_FIRST | TDB_MUTEX_LOCKING | TDB_INCOMPATIBLE_HASH,
                   O_RDWR | O_CREAT, 0600);
    CHECK(tdb != NULL);
}

static void end(void)
{
    tdb_close(tdb);
    unlink(path);
    free(path);
}

/* What its manual asks of a child. */
static void enter(void)
{
    CHECK(tdb_reopen(tdb) == 0);
}

static TDB_DATA data_of(const char *key)
{
    return (TDB_DATA){(unsigned char *)(uintptr_t)key, KEY_LENGTH};
}

static void set(const char *key, int64_t value)
{
    TDB_DATA data = {(unsigned char *)&value, sizeof value};

    CHECK(tdb_store(tdb, data_of(key), data, TDB_REPLACE) == 0);
}

static int take_value(TDB_DATA key, TDB_DATA data, void *value)
{
    (void)key;
    memcpy(value, data.dptr, sizeof(int64_t));
    return 0;
}

static int64_t get(const char *key)
{
    int64_t value;

    CHECK(tdb_parse_record(tdb, data_of(key), take_value, &value) == 0);
    return value;
}

static void add(const char *key, int64_t delta)
{
    CHECK(tdb_chainlock(tdb, data_of(key)) == 0);
    set(key, get(key) + delta);
    CHECK(tdb_chainunlock(tdb, data_of(key)) == 0);
}

static int count_entry(struct tdb_context *context, TDB_DATA key, TDB_DATA data, void *met)
{
    (void)context;
    (void)key;
    (void)data;
    ++*(size_t *)met;
    return 0;
}

static size_t iterate(void)
{
    size_t met = 0;

    CHECK(tdb_traverse_read(tdb, count_entry, &met) >= 0);
    return met;
}

static size_t memory(void)
{
    struct stat status;

    CHECK(stat(path, &status) == 0);
    return (size_t)status.st_size;
}

int main(int argc, char **argv)
{
    static const struct store store = {.system = "TDB",
                                       .part = 10,
                                       .most = 1000000,
                                       .make = make,
                                       .end = end,
                                       .enter = enter,
                                       .set = set,
                                       .get = get,
                                       .add = add,
                                       .iterate = iterate,
                                       .memory = memory};

    bench_begin(argc, argv);
    dict_works(&store);
    return 0;
}
