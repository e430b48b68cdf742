// oneTBB, in an arena of as many threads as there are workers, the caller among them, as it is meant to be used. Tasks
// submitted one by one are a task_group, which is waited for as a whole; a round trip is enqueue(), as only that hands
// a task to another thread, and a std::future tells that it is done. A map is parallel_for, in place, with the
// automatic partitioner; for chunks of one the simple one.
#include <atomic>
#include <future>
#include <memory>
#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include "../pool_works.h"

namespace
{

namespace tbb = oneapi::tbb;
using Range = tbb::blocked_range<size_t>;

// More threads than CPUs have to be asked for.
std::unique_ptr<tbb::global_control> control;
std::unique_ptr<tbb::task_arena> arena;

void start(int workers)
{
    control.reset(
        new tbb::global_control(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(workers) + 1));
    arena.reset(new tbb::task_arena(workers));
}

void end()
{
    arena.reset();
    control.reset();
}

void apply(crew_task *task, const void *arg, size_t, void *result, size_t)
{
    std::promise<void> promise;

    arena->enqueue([&] {
        task(arg, result);
        promise.set_value();
    });
    promise.get_future().wait();
}

void each(crew_task *task, const void *args, size_t arg_size, void *results, size_t result_size, size_t count)
{
    arena->execute([&] {
        tbb::task_group group;

        for (size_t i = 0; i < count; i++) {
            const char *arg = static_cast<const char *>(args) + i * arg_size;
            char *result = static_cast<char *>(results) + i * result_size;

            group.run([=] { task(arg, result); });
        }
        group.wait();
    });
}

void map(crew_task *task, const void *args, size_t arg_size, void *results, size_t result_size, size_t count,
         enum crew_share share)
{
    auto run = [=](const Range &range) {
        for (size_t i = range.begin(); i < range.end(); i++)
            task(static_cast<const char *>(args) + i * arg_size, static_cast<char *>(results) + i * result_size);
    };

    arena->execute([&] {
        if (share == CREW_SINGLY)
            tbb::parallel_for(Range(0, count, 1), run, tbb::simple_partitioner());
        else
            tbb::parallel_for(Range(0, count), run, tbb::auto_partitioner());
    });
}

} // namespace

int main(int argc, char **argv)
{
    struct crew crew = {};

    bench_begin(argc, argv);
    crew.system = "oneTBB";
    crew.part = 1;
    crew.start = start;
    crew.end = end;
    crew.apply = apply;
    crew.each = each;
    crew.map = map;
    pool_works(&crew);
    return 0;
}
