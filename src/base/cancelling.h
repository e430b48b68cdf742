/* No function of the library is a cancellation point: calls that may be one stand between cancelling_forbid() and
 * cancelling_allow(). A thread that is cancelled meanwhile ends at its next cancellation point outside the library.
 * Functions of the user's that the library calls run between them too. */
#ifndef CANCELLING_H
#define CANCELLING_H

#include <pthread.h>

static inline int cancelling_forbid(void)
{
    int state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

static inline void cancelling_allow(int state)
{
    pthread_setcancelstate(state, NULL);
}

static inline void cancelling_allow_again(const int *state)
{
    cancelling_allow(*state);
}
/* A declaration that forbids cancelling until the end of its block, however that is left. */
#define CANCELLING_FORBIDDEN \
    __attribute__((cleanup(cancelling_allow_again), unused)) const int cancelling_state = cancelling_forbid()

#endif
