// Abseil's flat_hash_map in the memory of one process: with keys of a fixed size in the table itself, and with keys as
// libmp has them, strings of any length that the caller ends with a NUL. Bare, which no two threads may use while one
// writes, and with a std::mutex around each operation. What others do by processes it does by threads.
#include <absl/container/flat_hash_map.h>
#include <absl/strings/string_view.h>
#include <cstring>
#include <malloc.h>
#include <mutex>
#include <string>

#include "../dict_works.h"

namespace
{

struct Key {
    char text[KEY_LENGTH];

    explicit Key(const char *key)
    {
        std::memcpy(text, key, sizeof text);
    }
    bool operator==(const Key &other) const
    {
        return std::memcmp(text, other.text, sizeof text) == 0;
    }
    template <typename H> friend H AbslHashValue(H state, const Key &key)
    {
        return H::combine_contiguous(std::move(state), key.text, sizeof key.text);
    }
};

size_t allocated()
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

std::mutex mutex;
size_t memory_before;

// What is stored as a key, and what one is looked up by.
template <typename Stored, typename Wanted> struct Table {
    static absl::flat_hash_map<Stored, int64_t> *table;

    static void make(size_t)
    {
        memory_before = allocated();
        table = new absl::flat_hash_map<Stored, int64_t>;
    }

    static void end()
    {
        delete table;
    }

    static size_t memory()
    {
        return allocated() - memory_before;
    }

    static void set(const char *key, int64_t value)
    {
        (*table)[Wanted(key)] = value;
    }

    static int64_t get(const char *key)
    {
        return table->find(Wanted(key))->second;
    }

    static void add(const char *key, int64_t delta)
    {
        (*table)[Wanted(key)] += delta;
    }

    static size_t iterate()
    {
        size_t met = 0;

        for (const auto &entry : *table) {
            volatile int64_t value = entry.second;

            (void)value;
            met++;
        }
        return met;
    }

    static void locked_set(const char *key, int64_t value)
    {
        std::lock_guard<std::mutex> guard(mutex);

        set(key, value);
    }

    static int64_t locked_get(const char *key)
    {
        std::lock_guard<std::mutex> guard(mutex);

        return get(key);
    }

    static void locked_add(const char *key, int64_t delta)
    {
        std::lock_guard<std::mutex> guard(mutex);

        add(key, delta);
    }

    static size_t locked_iterate()
    {
        std::lock_guard<std::mutex> guard(mutex);

        return iterate();
    }

    // To so many entries, and further as one of the works, if it `grows`.
    static void works(const char *bare, const char *locked, size_t most, bool grows)
    {
        struct store store = {};

        store.system = bare;
        store.threads = true;
        store.alone = true;
        store.part = 1;
        store.most = most;
        store.make = make;
        store.end = end;
        store.set = set;
        store.get = get;
        store.add = add;
        store.iterate = iterate;
        store.memory = memory;
        dict_works(&store);
        store.system = locked;
        store.alone = false;
        store.grows = grows;
        store.set = locked_set;
        store.get = locked_get;
        store.add = locked_add;
        store.iterate = locked_iterate;
        dict_works(&store);
    }
};

template <typename Stored, typename Wanted> absl::flat_hash_map<Stored, int64_t> *Table<Stored, Wanted>::table;

} // namespace

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    Table<Key, Key>::works("absl flat_hash_map", "absl + mutex", 10000000, true);
    Table<std::string, absl::string_view>::works("absl of std::string", "absl of std::string + mutex", 1000000, false);
    return 0;
}
