/* map: the squares of 0 to 99, in order. */
#include <mp.h>

#include "check.h"

#define COUNT 100

static int square(const void *arg, void *result)
{
    int x = *(const int *)arg;

    *(int *)result = x * x;
    return 0;
}

int main(void)
{
    mp_pool *pool;
    int in[COUNT], out[COUNT];

    for (int i = 0; i < COUNT; i++)
        in[i] = i;
    CHECK(mp_pool_create(&pool, 0, NULL));
    CHECK(mp_pool_map(pool, square, in, sizeof *in, out, sizeof *out, COUNT));
    for (int i = 0; i < COUNT; i++)
        printf("%s%d", i == 0 ? "[" : ", ", out[i]);
    printf("]\n");
    CHECK(mp_pool_close(pool));
    CHECK(mp_pool_join(pool));
    CHECK(mp_pool_free(pool));
    printf("123455\n");
    return 0;
}
