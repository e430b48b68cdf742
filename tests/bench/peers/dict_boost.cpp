// Boost.Interprocess: a boost::unordered_map with keys of a fixed size in a managed_shared_memory, of which all that it
// will need is reserved at the start, as it cannot grow while others use it; and an interprocess_mutex there around
// each operation. The name of the memory is removed as soon as it is there: the processes inherit it.
#include <boost/functional/hash.hpp>
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <boost/unordered_map.hpp>
#include <cstring>
#include <string>
#include <unistd.h>

#include "../dict_works.h"

namespace
{

namespace ipc = boost::interprocess;

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
};

struct Hash {
    size_t operator()(const Key &key) const
    {
        uint64_t words[KEY_LENGTH / sizeof(uint64_t)];

        std::memcpy(words, key.text, sizeof words);
        return boost::hash_range(words, words + KEY_LENGTH / sizeof(uint64_t));
    }
};

using Allocator = ipc::allocator<std::pair<const Key, int64_t>, ipc::managed_shared_memory::segment_manager>;
using Table = boost::unordered_map<Key, int64_t, Hash, std::equal_to<Key>, Allocator>;
using Guard = ipc::scoped_lock<ipc::interprocess_mutex>;

ipc::managed_shared_memory *segment;
Table *table;
ipc::interprocess_mutex *mutex;

void make(size_t entries)
{
    std::string name = "mp-bench-boost-" + std::to_string(getpid());

    segment = new ipc::managed_shared_memory(ipc::create_only, name.c_str(), entries * 160 + (1 << 20));
    ipc::shared_memory_object::remove(name.c_str());
    mutex = segment->construct<ipc::interprocess_mutex>(ipc::anonymous_instance)();
    table = segment->construct<Table>(ipc::anonymous_instance)(16, Hash(), std::equal_to<Key>(),
                                                               Allocator(segment->get_segment_manager()));
}

void end()
{
    delete segment;
}

size_t memory()
{
    return segment->get_size() - segment->get_free_memory();
}

void set(const char *key, int64_t value)
{
    Guard guard(*mutex);

    (*table)[Key(key)] = value;
}

int64_t get(const char *key)
{
    Guard guard(*mutex);

    return table->find(Key(key))->second;
}

void add(const char *key, int64_t delta)
{
    Guard guard(*mutex);

    (*table)[Key(key)] += delta;
}

size_t iterate()
{
    Guard guard(*mutex);
    size_t met = 0;

    for (const auto &entry : *table) {
        volatile int64_t value = entry.second;

        (void)value;
        met++;
    }
    return met;
}

} // namespace

int main(int argc, char **argv)
{
    struct store store = {};

    bench_begin(argc, argv);
    store.system = "Boost.Interprocess";
    store.part = 1;
    store.most = 10000000;
    store.grows = true;
    store.make = make;
    store.end = end;
    store.set = set;
    store.get = get;
    store.add = add;
    store.iterate = iterate;
    store.memory = memory;
    dict_works(&store);
    return 0;
}
