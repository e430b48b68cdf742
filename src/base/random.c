#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cancelling.h"
#include "base/clock.h"
#include "base/descriptor.h"

/* Reads as many bytes as it can get. Returns how many. */
static size_t read_random_file(char *at, size_t size)
{
    size_t done = 0;
    int fd = descriptor_move_up(open("/dev/urandom", O_RDONLY | O_CLOEXEC));

    while (fd >= 0 && done < size) {
        ssize_t got = read(fd, at + done, size - done);

        if (got > 0)
            done += (size_t)got;
        else if (got == 0 || errno != EINTR)
            break;
    }
    if (fd >= 0)
        close(fd);
    return done;
}

/* Makes bytes from what differs between processes and calls: the 16 random bytes that the kernel gives each program,
 * the clock, the pid, addresses. */
static void make_random(char *at, size_t size)
{
    static _Atomic uint64_t calls;
    const char *given = (const char *)(uintptr_t)getauxval(AT_RANDOM);
    uint64_t state = (uint64_t)clock_now() ^ (uint64_t)getpid() << 40 ^ (uint64_t)(uintptr_t)&size;
    uint64_t word;

    if (given != NULL) {
        memcpy(&word, given, sizeof word);
        state ^= word;
    }
    state += atomic_fetch_add(&calls, 1) << 32;
    for (size_t i = 0; i < size; i++) {
        state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
        word = (state ^ state >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
        at[i] = (char)(word >> 56);
    }
}

void random_bytes(void *buffer, size_t size)
{
    CANCELLING_FORBIDDEN;
    char *at = buffer;

    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);

        if (got <= 0 && errno != EINTR)
            break;
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
    size_t got = size == 0 ? 0 : read_random_file(at, size);
    if (got < size)
        make_random(at + got, size - got);
}
