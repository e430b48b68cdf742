/* No function of the library is a cancellation point: what may call one stands between these. A thread that was
 * cancelled meanwhile ends at its next cancellation point of its own. Functions of the user's that run inside a call
 * are called between them too. */
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
/* As a declaration: until the end of the block it stands in, however that is left. */
#define CANCELLING_FORBIDDEN \
    __attribute__((cleanup(cancelling_allow_again), unused)) const int cancelling_state = cancelling_forbid()

#endif
