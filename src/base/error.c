/* The codes and their texts. All is constant except one buffer for each thread, so nothing needs a lock. */
#include "base/error.h"

#include <errno.h>
#include <mp.h>
#include <signal.h>
#include <stdio.h>

#define TEXT_OF(x) #x
#define NUMBER_TEXT(x) TEXT_OF(x)

/* MP_EDIED itself means a death of which nothing is known. The SIGNAL_LAST codes below it are deaths by a signal, those
 * from DIED_CODE down to DIED_LAST are exit codes. */
#define DIED_CODE (MP_EDIED - 100)
#define DIED_LAST (DIED_CODE - 255)
#define SIGNAL_LAST 64

static const char *const messages[] = {
    [-MP_OK] = "success",
    [-MP_EINVAL] = "invalid argument, or not a live handle",
    [-MP_ENOMEM] = "out of memory, or over a limit on it",
    [-MP_ETIMEOUT] = "timed out",
    [-MP_ETYPE] = "value of another type",
    [-MP_EKEY] = "no such key",
    [-MP_EINDEX] = "index out of range",
    [-MP_EVALUE] = "no such value",
    [-MP_EOVERFLOW] = "result too large for its type",
    [-MP_ETOOSMALL] = "buffer too small",
    [-MP_ESTOP] = "end of the iteration",
    [-MP_ECHANGED] = "value is not the expected one",
    [-MP_EOWNERDEAD] = "lock taken, its last owner died holding it",
    [-MP_EDEADLK] = "lock held by the calling thread already",
    [-MP_ENOTOWNER] = "lock not held by the calling thread",
    [-MP_EBUSY] = "still in use",
    [-MP_ENOTREADY] = "result not ready",
    [-MP_ECLOSED] = "pool is closed",
    [-MP_ETERMINATED] = "pool was terminated before the task had finished",
    [-MP_EBROKEN] = "pool is broken: its supervisor process is gone",
    [-MP_EINITIALIZER] = "pool is broken: its initializer failed",
    [-MP_EFOREIGN] = "belongs to another process or another manager",
    [-MP_EEXIST] = "name is taken",
    [-MP_ENOENT] = "no object of that name",
    [-MP_ENAME] = "not a valid name",
    [-MP_EKIND] = "named object is of another kind",
    [-MP_EACCESS] = "named object belongs to another user, or others may write it",
    [-MP_EVERSION] = "named object was made by another version or kind of machine",
    [-MP_ECORRUPT] = "shared memory is corrupt",
    [-MP_EAGAIN] = "a limit on processes or descriptors was reached; may succeed later",
    [-MP_ESYSTEM] = "the system lacks something needed; see errno",
    [-MP_EDEPTH] = "containers nested too deep",
};

/* Each with its number, as the numbers differ between architectures. */
static const struct {
    int number;
    const char *name;
} signals[] = {
    {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},     {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},   {SIGTRAP, "SIGTRAP"},
    {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},     {SIGFPE, "SIGFPE"},   {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"},
    {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},   {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"},
    {SIGCHLD, "SIGCHLD"}, {SIGCONT, "SIGCONT"},   {SIGSTOP, "SIGSTOP"}, {SIGTSTP, "SIGTSTP"}, {SIGTTIN, "SIGTTIN"},
    {SIGTTOU, "SIGTTOU"}, {SIGURG, "SIGURG"},     {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"}, {SIGVTALRM, "SIGVTALRM"},
    {SIGPROF, "SIGPROF"}, {SIGWINCH, "SIGWINCH"}, {SIGIO, "SIGIO"},     {SIGSYS, "SIGSYS"},
};

static _Thread_local char text[64];

const char *mp_version(void)
{
    return NUMBER_TEXT(MP_VERSION_MAJOR) "." NUMBER_TEXT(MP_VERSION_MINOR) "." NUMBER_TEXT(MP_VERSION_PATCH);
}

bool mp_died(int code, int *exitcode)
{
    int how;

    if (code > MP_EDIED || code < DIED_LAST)
        return false;
    if (code == MP_EDIED)
        how = MP_EXITCODE_UNKNOWN;
    else if (code >= MP_EDIED - SIGNAL_LAST)
        how = code - MP_EDIED;
    else if (code <= DIED_CODE)
        how = DIED_CODE - code;
    else
        return false;
    if (exitcode != NULL)
        *exitcode = how;
    return true;
}

static const char *describe_signal(int number)
{
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        if (signals[i].number == number) {
            snprintf(text, sizeof text, "worker killed by signal %d (%s)", number, signals[i].name);
            return text;
        }
    }
    snprintf(text, sizeof text, "worker killed by signal %d", number);
    return text;
}

const char *mp_strerror(int code)
{
    int exitcode;

    if (code <= 0 && code > -(int)(sizeof messages / sizeof *messages))
        return messages[-code];
    if (code > 0) {
        snprintf(text, sizeof text, "task failed with code %d", code);
        return text;
    }
    if (!mp_died(code, &exitcode)) {
        snprintf(text, sizeof text, "unknown error %d", code);
        return text;
    }
    if (exitcode == MP_EXITCODE_UNKNOWN)
        return "worker died, nobody knows how";
    if (exitcode < 0)
        return describe_signal(-exitcode);
    snprintf(text, sizeof text, "worker ended with exit code %d", exitcode);
    return text;
}

int system_error(int number)
{
    switch (number) {
    case EAGAIN:
    case EMFILE:
    case ENFILE:
        return MP_EAGAIN;
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOBUFS:
    case ENOLCK:
        return MP_ENOMEM;
    case EEXIST:
        return MP_EEXIST;
    default: /* also a refusal for lack of a privilege, or by a sandbox: MP_EACCESS would mean another user's object */
        return MP_ESYSTEM;
    }
}
