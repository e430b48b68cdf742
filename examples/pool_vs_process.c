/* Sends a hundred mails by a pool, and then by one process for each mail. */
#include <mp.h>

#include "check.h"
#include "stopwatch.h"

#define MAILS 100

static int send_mail(const void *arg, void *result)
{
    (void)result;
    printf("mail %d\n", *(const int *)arg);
    return 0;
}

static int send_mail_alone(void *arg)
{
    return send_mail(arg, NULL);
}

static double with_pool(void)
{
    mp_pool *pool;
    double start = seconds();

    CHECK(mp_pool_create(&pool, 0, NULL));
    for (int i = 0; i < MAILS; i++)
        CHECK(mp_pool_apply_async(pool, send_mail, &i, sizeof i, 0, NULL));
    CHECK(mp_pool_close(pool));
    CHECK(mp_pool_join(pool));
    CHECK(mp_pool_free(pool));
    return seconds() - start;
}

static double with_processes(void)
{
    mp_process *process[MAILS];
    int number[MAILS];
    double start = seconds();

    for (int i = 0; i < MAILS; i++) {
        number[i] = i;
        CHECK(mp_process_start(&process[i], send_mail_alone, &number[i], NULL));
    }
    for (int i = 0; i < MAILS; i++) {
        CHECK(mp_process_join(process[i], MP_FOREVER));
        CHECK(mp_process_free(process[i]));
    }
    return seconds() - start;
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* print each line at once, as on a terminal */
    double pool = with_pool(), processes = with_processes();

    printf("pool: %.4f s\n", pool);
    printf("processes: %.4f s\n", processes);
    return 0;
}
