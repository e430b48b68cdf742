/* Operations on a manager's plain memory whose process is killed. The dict holds the numbers of all memory there is. */
#include <string.h>

#include "containers.h"

static void *memory[8];

static void run(const struct operation *operation, const struct plan *plan, struct tally *tally)
{
    heap_killer_run(&containers_scene, operation, plan, tally);
}

static void take(int index, size_t size)
{
    OK(mp_manager_alloc(scene.manager, size, &memory[index]));
}

static void drop(int index)
{
    OK(mp_memory_free(memory[index]));
}

/* ---- preparations ---- */

static void three(void)
{
    for (int i = 0; i < 3; i++)
        take(i, 1000);
}

/* One block of memory, and the object that described it, are free for reuse. */
static void one_freed(void)
{
    three();
    drop(1);
}

static void large(void)
{
    take(0, (size_t)25 << 20);
    take(1, (size_t)9 << 20);
    take(2, 100);
    drop(0);
}

/* ---- operations ---- */

static void take_nothing(void)
{
    take(4, 0);
}

static void take_small(void)
{
    take(4, 100);
}

static void take_same(void)
{
    take(4, 1000);
}

static void take_grow(void)
{
    take(4, 100000);
}

/* Its number is in the dict: the memory is complete from the moment at which others can find it. */
static void take_and_tell(void)
{
    int64_t ref;

    take(4, 5000);
    OK(mp_memory_ref(memory[4], &ref));
    memcpy(memory[4], "content", 8);
    OK(mp_dict_set_int(scene.dict, "a", ref));
}

static void drop_middle(void)
{
    drop(1);
}

static const struct operation operations[] = {
    {"memory.take_nothing", NULL, take_nothing, NULL, NULL},    {"memory.take", NULL, take_small, NULL, NULL},
    {"memory.take_again", one_freed, take_same, NULL, NULL},    {"memory.take_grow", three, take_grow, NULL, NULL},
    {"memory.take_and_tell", three, take_and_tell, NULL, NULL}, {"memory.free", three, drop_middle, NULL, NULL},
    {"memory.free_large", large, drop_middle, NULL, NULL},
};

const struct family memory_family = {operations, sizeof operations / sizeof *operations, run};
