/* OpenMPI on one machine: two processes that the program's user starts with mpirun, one of which sends and waits for
 * the answer, beside a pool's round trip. Both look for messages all the time, as MPI does. */
#include <mp.h>
#include <mpi.h>
#include <stdlib.h>

#include "../pool_works.h"

#define MOST (16 << 20)

/* How a message begins: bytes that follow, bytes of the answer. */
enum { TO, BACK, WORDS };

static void call(const void *data, size_t size, void *answer, size_t answer_size)
{
    uint64_t head[WORDS] = {size, answer_size};

    MPI_Send(head, WORDS, MPI_UINT64_T, 1, 0, MPI_COMM_WORLD);
    if (size > 0)
        MPI_Send(data, (int)size, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
    if (answer_size > 0)
        MPI_Recv(answer, (int)answer_size, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

/* Until a message that wants no answer. */
static void serve(void)
{
    char *memory = malloc(MOST);
    uint64_t head[WORDS];

    while (true) {
        MPI_Recv(head, WORDS, MPI_UINT64_T, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (head[BACK] == 0)
            break;
        if (head[TO] > 0)
            MPI_Recv(memory, (int)head[TO], MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Send(memory, (int)head[BACK], MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    }
    free(memory);
}

static void start(int workers)
{
    (void)workers;
}

static void end(void)
{
}

static void send_all(const void *data, size_t size)
{
    char answer;

    call(data, size, &answer, 1);
}

static void fetch(void *data, size_t size)
{
    call(NULL, 0, data, size);
}

int main(int argc, char **argv)
{
    static const struct crew crew = {
        .system = "OpenMPI", .copies = true, .part = 1, .start = start, .end = end, .send = send_all, .fetch = fetch};
    int rank;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) {
        bench_begin(argc, argv);
        pool_works(&crew);
        call(NULL, 0, NULL, 0);
    } else {
        serve();
    }
    MPI_Finalize();
    return 0;
}
