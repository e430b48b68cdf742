// The interprocess_mutex of Boost.Interprocess, in memory that the processes share.
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <new>

#include "../lock_works.h"

namespace
{

boost::interprocess::interprocess_mutex *mutex;

void once()
{
    mutex->lock();
    *lock_guarded = *lock_guarded + 1;
    mutex->unlock();
}

} // namespace

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    lock_works_begin();
    mutex = new (bench_shared(sizeof *mutex)) boost::interprocess::interprocess_mutex;
    lock_works("Boost.Interprocess", once, nullptr, 1);
    return 0;
}
