// Abseil's flat_hash_map in the memory of one process, with keys of a fixed size in the table itself: bare, which no two threads may
// use while one writes, and with a std::mutex around each operation. What others do by processes it does by threads.
#include <absl/container/flat_hash_map.h>
#include <cstring>
#include <malloc.h>
#include <mutex>

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

absl::flat_hash_map<Key, int64_t> *table;
std::mutex mutex;
size_t memory_before;

size_t allocated()
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

void make(size_t)
{
    memory_before = allocated();
    table = new absl::flat_hash_map<Key, int64_t>;
}

void end()
{
    delete table;
}

size_t memory()
{
    return allocated() - memory_before;
}

void set(const char *key, int64_t value)
{
    (*table)[Key(key)] = value;
}

int64_t get(const char *key)
{
    return table->find(Key(key))->second;
}

void add(const char *key, int64_t delta)
{
    (*table)[Key(key)] += delta;
}

size_t iterate()
{
    size_t met = 0;

    for (const auto &entry : *table) {
        volatile int64_t value = entry.second;

        (void)value;
        met++;
    }
    return met;
}

void locked_set(const char *key, int64_t value)
{
    std::lock_guard<std::mutex> guard(mutex);

    set(key, value);
}

int64_t locked_get(const char *key)
{
    std::lock_guard<std::mutex> guard(mutex);

    return get(key);
}

void locked_add(const char *key, int64_t delta)
{
    std::lock_guard<std::mutex> guard(mutex);

    add(key, delta);
}

size_t locked_iterate()
{
    std::lock_guard<std::mutex> guard(mutex);

    return iterate();
}

} // namespace

int main(int argc, char **argv)
{
    struct store store = {};

    bench_begin(argc, argv);
    store.system = "absl flat_hash_map";
    store.threads = true;
    store.alone = true;
    store.part = 1;
    store.most = 10000000;
    store.make = make;
    store.end = end;
    store.set = set;
    store.get = get;
    store.add = add;
    store.iterate = iterate;
    store.memory = memory;
    dict_works(&store);
    store.system = "absl + mutex";
    store.alone = false;
    store.grows = true;
    store.set = locked_set;
    store.get = locked_get;
    store.add = locked_add;
    store.iterate = locked_iterate;
    dict_works(&store);
    return 0;
}
