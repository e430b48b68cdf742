/* libmp: Python-style multiprocessing for C.
 *
 * This header is the manual. It is plain C11, and compiles without warnings as C++ as well.
 *
 * Conventions. They hold for every function, unless its comment says otherwise:
 *
 * - Return values: a function returns 0 on success or a negative MP_E... code; mp_strerror() explains each of them. A
 *   positive value is a failure code that a function of the caller's own (a task, say) returned. After an error, output
 *   parameters are unchanged.
 * - Order of arguments: a function that makes an object on its own (..._create(), ..._open(), ..._start()) stores it
 *   through its first argument. A function on an object takes that object first. Then comes, as a rule, what goes in,
 *   then what comes out; the size of a buffer follows the buffer. Options are always last; NULL means the defaults.
 * - Ownership: the caller releases what a function has made with the matching ..._free(), which accepts NULL.
 * - Names: where a function exists in two forms, a suffix tells them apart. The form that ends in a type (_int, _str,
 *   _dict...) or in _key takes C types: the key of a dict is a NUL-terminated string. The form without a suffix takes
 *   an mp_value for each key and each value, so it works with all types.
 * - MP_EINVAL is the error for each of these; the comments of single functions do not repeat it:
 *   - a NULL pointer where one is needed;
 *   - a handle that is not live (freed, closed, never made);
 *   - an option that does not exist;
 *   - a string or bytes of more than 2^40 bytes.
 * - Stale handles: the handle of a dict, list, lock or iterator that has ended is an error for good, even when its
 *   memory is used for another object. Any other freed handle is recognized until its memory is used for a new handle
 *   of the same kind. In a task of a pool, a handle that leads to memory which the worker does not have (that of a
 *   manager younger than the pool, for example) is MP_EINVAL. Elsewhere the library cannot check an address that cannot
 *   be read at all.
 * - Sharing: a Process, a Pool and its results belong to the process that made them; in another process they are
 *   MP_EFOREIGN. Managers, dicts, lists and locks are shared with every process forked after they were made.
 * - Copies: the library copies strings, memory and options that it is given. The caller keeps its own.
 * - Times are seconds (double) on the monotonic clock. MP_FOREVER waits without limit; 0 or less does not wait. A NaN
 *   is MP_EINVAL. A signal that arrives never shortens a wait.
 * - Threads: several threads may call any function at once. No function is a cancellation point, not even while it runs
 *   a function of the caller's or prints to a stream: a thread that is cancelled during a call ends at a cancellation
 *   point after it. No function may be called while PTHREAD_CANCEL_ASYNCHRONOUS is set. A thread's stack of 16 KiB is
 *   enough for every function; printing and JSON of deeply nested containers need 32 KiB.
 * - Signal handlers: these are async-signal-safe: mp_version(), mp_died(), mp_strerror() for the codes of the enum
 *   below, and the constructors of mp_value. All other functions are not. But a handler may call exit() or _exit(),
 *   whichever function it has interrupted. It may also call fork() if it has interrupted a function on processes and
 *   the child does not return from the handler.
 * - Robust futexes: the library needs this feature of the kernel, which reports that the owner of a lock has died.
 *   Where the system refuses it (sandboxes without set_robust_list(), qemu-user), managers, locks and pools can be
 *   neither made nor opened: MP_ESYSTEM.
 * - "Blocks" says what a function may wait for. Functions on a manager's containers also wait for each other's short
 *   critical sections; the comments do not mention that each time.
 * - Side effects: the library installs no signal handler in the calling process and starts no thread. It prints only
 *   what it is asked to print. It never ends the calling process. Its descriptors are close-on-exec, and none of them
 *   is 0, 1 or 2.
 */
#ifndef MP_H
#define MP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MP_VERSION_MAJOR 0
#define MP_VERSION_MINOR 2
#define MP_VERSION_PATCH 0

#if defined(__GNUC__) || defined(__clang__)
#define MP_API __attribute__((visibility("default")))
#else
#define MP_API
#endif

/* The version of the linked library as "major.minor.patch": a constant string. Never blocks. Python: none. */
MP_API const char *mp_version(void);

/* ------------------------------------------------------------------------------------------------------- errors */

enum {
    MP_OK = 0,
    MP_EINVAL = -1,    /* an argument is not valid: NULL, negative, not a number, not a live handle */
    MP_ENOMEM = -2,    /* out of memory, of address space, of room in the shared-memory file system, or over a limit */
    MP_ETIMEOUT = -3,  /* the time given ran out (Python: TimeoutError) */
    MP_ETYPE = -4,     /* a value of another type (Python: TypeError) */
    MP_EKEY = -5,      /* no such key (Python: KeyError) */
    MP_EINDEX = -6,    /* no such index (Python: IndexError) */
    MP_EVALUE = -7,    /* no such value, or not a possible one (Python: ValueError) */
    MP_EOVERFLOW = -8, /* the result does not fit: an integer past 64 bits, sizes that multiply past all limits */
    MP_ETOOSMALL = -9, /* the buffer given is too small; nothing was lost, and the size needed can be known */
    MP_ESTOP = -10,    /* an iteration has ended (Python: StopIteration) */
    MP_ECHANGED = -11, /* compare-and-swap: the value was not the expected one */
    MP_EOWNERDEAD = -12,   /* the last owner of the lock died holding it; now the caller HOLDS the lock */
    MP_EDEADLK = -13,      /* the calling thread holds the lock already; or see mp_dict_apply() */
    MP_ENOTOWNER = -14,    /* the calling thread does not hold the lock */
    MP_EBUSY = -15,        /* in use: the process still runs, the lock is held, the pool is open */
    MP_ENOTREADY = -16,    /* the result is not there yet */
    MP_ECLOSED = -17,      /* the pool was closed or terminated: no new tasks */
    MP_ETERMINATED = -18,  /* the pool was terminated before the task had finished */
    MP_EBROKEN = -19,      /* the pool's supervisor process is gone, and its workers with it */
    MP_EINITIALIZER = -20, /* the pool's initializer failed */
    MP_EFOREIGN = -21,     /* belongs to another process, or to another manager */
    MP_EEXIST = -22,       /* the name is taken (Python: FileExistsError) */
    MP_ENOENT = -23,       /* there is no object of that name (Python: FileNotFoundError) */
    MP_ENAME = -24,        /* not a valid name: 1 to 200 bytes, no slash, not "." or ".." */
    MP_EKIND = -25,        /* the named object is of another kind, or not the library's at all */
    MP_EACCESS = -26,      /* the named object belongs to another user, or others may write it */
    MP_EVERSION = -27,     /* the named object was made by another version, C library or kind of machine */
    MP_ECORRUPT = -28,     /* the shared memory is damaged */
    MP_EAGAIN = -29,       /* the system refused a new process or descriptor (a limit); may succeed later */
    MP_ESYSTEM = -30,      /* the system lacks something needed, or refuses it; errno says more */
    MP_EDEPTH = -31,       /* containers nested more than MP_MAX_DEPTH deep; or too many functions inside each other */
    MP_EDIED = -1000       /* a worker died in the task: MP_EDIED - s: by signal s; MP_EDIED - 100 - c: exit code c */
};

/* The deepest nesting of containers that printing and comparing follow. */
#define MP_MAX_DEPTH 200

/* The meaning of `code`: one line of English without a full stop, never NULL. For a code of the enum above it is a
 * constant string. For other codes (those of MP_EDIED, or a task's own) it lies in a buffer of the calling thread,
 * valid until that thread's next call. Never blocks. Python: the text of an exception. */
MP_API const char *mp_strerror(int code);

/* Returns true if `code` says that a worker died while it ran a task. *exitcode, unless NULL, then receives the
 * worker's exit code in the form of mp_process_exitcode(): the code, minus the signal, or MP_EXITCODE_UNKNOWN. Never
 * blocks. Python: none (the Pool hangs). */
MP_API bool mp_died(int code, int *exitcode);

#define MP_FOREVER (1e300)

/* ---------------------------------------------------------------------------------------------------- CPU counts */

/* The number of online CPUs of the machine, at least 1. Never blocks. Python: os.cpu_count(). */
MP_API int mp_cpu_count(void);

/* The number of CPUs that this process may use, at least 1: the smaller of its affinity mask and its cgroup's quota (v1
 * and v2, rounded up). A pool has that many workers by default. Never blocks. Python: os.process_cpu_count(). */
MP_API int mp_usable_cpu_count(void);

/* -------------------------------------------------------------------------------------------------------- values */

typedef struct mp_manager mp_manager;
typedef struct mp_dict mp_dict;
typedef struct mp_list mp_list;

typedef enum mp_type { MP_NONE, MP_BOOL, MP_INT, MP_FLOAT, MP_STR, MP_BYTES, MP_DICT, MP_LIST } mp_type;

/* One value of any type. A value that the caller makes points to the caller's memory. A value that the library hands
 * out owns its memory: release it with mp_value_free(). A string in it always ends in a NUL that `size` does not
 * count. */
typedef struct mp_value {
    mp_type type;
    size_t size; /* MP_STR, MP_BYTES: length in bytes */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const char *str;
        const void *bytes;
        mp_dict *dict;
        mp_list *list;
    } as;
    void *owned; /* private: what mp_value_free() releases */
} mp_value;

/* Constructors. They check nothing, allocate nothing, and keep the pointer that they are given. mp_value_strn() and
 * mp_value_bytes() take a length in bytes, so the data may contain any bytes. mp_value_str(NULL) makes a value that
 * every function refuses. Never block. */
MP_API mp_value mp_value_none(void);
MP_API mp_value mp_value_bool(bool value);
MP_API mp_value mp_value_int(int64_t value);
MP_API mp_value mp_value_float(double value);
MP_API mp_value mp_value_str(const char *text);
MP_API mp_value mp_value_strn(const char *text, size_t size);
MP_API mp_value mp_value_bytes(const void *data, size_t size);
MP_API mp_value mp_value_dict(mp_dict *dict);
MP_API mp_value mp_value_list(mp_list *list);

/* Releases what a value from the library owns: the memory of a string, or the hold on a container (see "dict"). The
 * value becomes none. NULL, and values that the caller made, are accepted. In a forked child it releases the child's
 * copy of a string; a hold is the parent's, and stays. Python: del. */
MP_API void mp_value_free(mp_value *value);

/* Compares as Python's == does: 1, 1.0 and true are equal, and containers are compared by content, each as it is at one
 * moment. Stores the answer in *equal. Errors: MP_EDEPTH, MP_ENOMEM; and for containers (see "dict") MP_EDEADLK,
 * MP_ESYSTEM, MP_ECORRUPT. Python: a == b. */
MP_API int mp_value_equal(const mp_value *a, const mp_value *b, bool *equal);

/* Write a value as JSON, which is the same in every locale:
 * - Strings are escaped. Bytes that are not valid UTF-8 become U+FFFD.
 * - A float has the fewest digits that read back equal, as in Python's repr(); infinities are 1e999, NaN is null.
 * - Bytes become a string of the characters U+0000 to U+00FF.
 * - Keys that are not strings are written as strings.
 * - Nested containers are written inside; a container that contains itself is written as "...".
 *
 * Each container is written as it is at one moment. No container is locked while the stream is written to.
 *
 * mp_value_print() writes all or nothing, without a line feed, and does not flush. It blocks as the stream does.
 * mp_value_json() stores a string, which the caller releases with free(). Errors: MP_ENOMEM, MP_EDEPTH, MP_EDEADLK,
 * MP_ECORRUPT, MP_ESYSTEM (also: the stream reports an error, or had its error flag set). Python: json.dumps(). */
MP_API int mp_value_print(const mp_value *value, FILE *stream);
MP_API int mp_value_json(const mp_value *value, char **text);

/* ------------------------------------------------------------------------------------------------------- manager */

typedef struct mp_manager_options {
    /* NULL: anonymous; it ends with the last process that has it. Otherwise other programs of the same user can open it
     * by this name. */
    const char *name;
    /* The most bytes that its heap may grow to: from 64 KiB to 64 GiB; a value outside counts as the nearer bound. 0
     * means 64 GiB, or as much as the system maps; under RLIMIT_AS at most a quarter of what that leaves; under
     * valgrind 64 MiB, as its leak check reads all memory that might be used. A 64th of the limit is reserved for
     * content that is removed and inserted again. */
    size_t limit;
} mp_manager_options;

/* Makes a manager: a shared heap that grows as needed and already contains one dict (mp_manager_root()). Each process
 * that has the manager releases it with mp_manager_free(). `options` may be NULL.
 *
 * Names: a name is taken, MP_EEXIST, while a process has a manager of that name open. A stale name, which no live
 * process has open, is replaced. A file under the name that is not the library's is MP_EKIND, and stays as it is. Each
 * time a named object is made or opened, the library also removes a bounded number of this user's stale names,
 * whichever they are.
 *
 * Blocks: an anonymous one, no. A named one: while another process keeps the file under the name locked, for a few
 * seconds at most (then MP_EAGAIN). Errors: MP_ENAME, MP_EEXIST, MP_EKIND, MP_EACCESS, MP_ENOMEM, MP_EAGAIN (also: no
 * descriptors), MP_ESYSTEM (also: a stale name cannot be removed, for example because it is a mount point). Python:
 * Manager(). */
MP_API int mp_manager_create(mp_manager **manager, const mp_manager_options *options);

/* Opens a named manager that another program (or this one) has open. Its containers are reached from mp_manager_root();
 * their addresses differ from process to process. `options` is reserved and must be NULL. *manager is released with
 * mp_manager_free().
 *
 * Damaged memory: whatever the file contains, opening it succeeds or returns an error; it never crashes. Opening checks
 * only what is cheap, however large the heap is: owner, mode, kind, version, header, sizes, and the root with its
 * mutex. It does not look for damage deeper inside. To use a manager that is damaged there is undefined. A program that
 * does not trust the processes that had the manager open therefore calls mp_manager_check() first: every use of a heap
 * that passes that check is safe.
 *
 * Programs that share a manager must be in one PID namespace, as its mutexes identify their holders by thread ID.
 * (Named locks tell namespaces apart.) They must also use the same C library (else MP_EVERSION). Blocks: as
 * mp_manager_create() of a named one. Errors: MP_ENAME, MP_ENOENT (there is none, or only a stale one, whose name is
 * then removed), MP_EKIND (also: a file that is not the library's, which stays), MP_EACCESS, MP_EVERSION, MP_ECORRUPT,
 * MP_ENOMEM, MP_EAGAIN, MP_ESYSTEM. Python: SyncManager.connect(). */
MP_API int mp_manager_open(mp_manager **manager, const char *name, const mp_manager_options *options);

/* Opens the manager of that name, or makes it if there is none. Of several programs that call this at once, one makes
 * it and the others open it. *made, unless NULL, receives whether this call made it; its root is then empty, and other
 * programs can see it from the beginning. `options` may be NULL; options->name must be NULL. *manager is released with
 * mp_manager_free(). Blocks: as mp_manager_open(); and while other processes keep making and freeing managers of that
 * name, for about 5 seconds at most (then MP_EAGAIN). Errors: those of mp_manager_create() and mp_manager_open(),
 * without MP_EEXIST and MP_ENOENT. Python: none. */
MP_API int mp_manager_open_or_create(mp_manager **manager, const char *name, bool *made,
                                     const mp_manager_options *options);

/* Removes the name at once. Processes that have the manager open keep it, and the next create makes a new one. So a
 * server that has died can restart with unlink and create while clients still have the old manager open. Blocks: as
 * mp_manager_open(). Errors: MP_ENAME, MP_ENOENT, MP_EKIND, MP_EACCESS, MP_ENOMEM, MP_EAGAIN, MP_ESYSTEM. Python:
 * SharedMemory.unlink(). */
MP_API int mp_manager_unlink(const char *name);

/* Closes the manager in this process. Other processes keep theirs; the last one that closes it removes the memory, and
 * the name if there is one. This process's holds on containers in it are given up, as if the process had died. No other
 * thread of this process may be inside a call on the manager. From now on every handle into it is an error in this
 * process, until 16 other managers or pools have been closed after it (fewer where RLIMIT_AS is set); after that, its
 * addresses may belong to something else, or be unmapped. Blocks: no; a named one: while another process checks whether
 * the name is stale, for 0.2 s at most. Errors: MP_EBUSY (called by a function that mp_dict_apply() or mp_list_sort()
 * runs on this manager). Python: Manager.shutdown(), for this process.
 *
 * End of a process: all that it has open is given up. When the last process that has a named object ends normally
 * (exit, return from main, the end of a child's function), the name is removed too, except that of a lock which another
 * of its threads holds. In that case, and after any other end (a signal, _exit(), exec), the name is stale. */
MP_API int mp_manager_free(mp_manager *manager);

/* Make an empty dict or list in the manager. The calling process holds it, until mp_dict_free() or mp_list_free().
 * Errors: MP_ENOMEM, MP_ESYSTEM, MP_ECORRUPT. Python: Manager().dict(), .list(). */
MP_API int mp_manager_dict(mp_manager *manager, mp_dict **dict);
MP_API int mp_manager_list(mp_manager *manager, mp_list **list);

/* Stores the root: the dict that every manager contains from the beginning. Programs that open a manager by name find
 * its other containers through it. The handle is borrowed, and valid as long as the manager; freeing it is MP_EINVAL.
 * Never blocks. Errors: none besides. Python: none. */
MP_API int mp_manager_root(mp_manager *manager, mp_dict **dict);

/* Allocates `size` bytes of plain memory in the manager's heap: zeroed, aligned to 64 bytes, and shared with every
 * process that has the manager. Its address is the same in all processes that were forked after the manager was made or
 * opened. mp_pool_map() uses arguments and results in such memory in place, without copying. Each piece costs about a
 * kilobyte more than its size, so it is meant for large pieces. It lasts until mp_memory_free(), or as long as its
 * manager. No process holds it, so no process's death frees it. The library does not order the processes' accesses to
 * it: they need atomics or a lock. *memory is released with mp_memory_free(), once, by any process. Errors: MP_ENOMEM,
 * MP_ESYSTEM, MP_ECORRUPT. Python: multiprocessing.RawArray(). */
MP_API int mp_manager_alloc(mp_manager *manager, size_t size, void **memory);
/* Frees memory of mp_manager_alloc(), for all processes. NULL is accepted. Errors: MP_EINVAL (not an address that
 * mp_manager_alloc() gave, of a manager that this process has, and that is still in use), MP_ECORRUPT. Python: none. */
MP_API int mp_memory_free(void *memory);
/* Stores the size in bytes that mp_manager_alloc() was called with. Errors: MP_EINVAL (as above). Python:
 * len(array). */
MP_API int mp_memory_size(const void *memory, size_t *size);
/* Stores a number that identifies the memory in all processes. Programs that open a manager by name have the memory at
 * different addresses; they find it by this number, which a dict can hold. Errors: MP_EINVAL (as above). Python:
 * none. */
MP_API int mp_memory_ref(const void *memory, int64_t *ref);
/* Stores the address in this process of the memory with that number. The address is borrowed. Errors: MP_EINVAL (also:
 * no memory has that number). Python: none. */
MP_API int mp_manager_memory(mp_manager *manager, int64_t ref, void **memory);

typedef struct mp_manager_info {
    size_t size;  /* bytes of the heap's file as it is now */
    size_t used;  /* bytes of it in use by containers, their contents and bookkeeping */
    size_t limit; /* bytes it may grow to */
} mp_manager_info;

/* Stores the sizes above, after giving back what dead processes held. `size` never shrinks; but where much of the heap
 * is free, the pages of large free pieces are returned to the system. In a file system with a size limit of its own
 * (/dev/shm, where named managers lie), only those of strings and bytes of 1 MiB or more are returned before the
 * manager ends. Errors: none besides MP_EINVAL. Python: none. */
MP_API int mp_manager_get_info(mp_manager *manager, mp_manager_info *info);

/* Walks the whole heap and verifies that it is sound: every byte belongs to exactly one owner, every container is
 * whole, every key is found where it should be. It is slow and stops all other users of the heap meanwhile: use it in
 * tests, and for memory that is not trusted. It relies on nothing that it has not checked: whatever the memory
 * contains, it neither crashes nor hangs (if no process damages the memory meanwhile). Blocks: for 30 seconds at most.
 * Errors: MP_ENOMEM, MP_ECORRUPT, MP_EDEADLK (called by a function that mp_dict_apply() or mp_list_sort() runs),
 * MP_ETIMEOUT (a process that uses the heap kept a container locked all the time, as it is stopped). Python: none. */
MP_API int mp_manager_check(mp_manager *manager);

/* ---------------------------------------------------------------------------------------------------------- dict
 *
 * A dict maps keys to values of any type, in order of insertion. A key is none, a bool, int, float, str or bytes; 1,
 * 1.0 and true are one key, as in Python. Each call is atomic: another process sees all of its effect or nothing, even
 * when the caller is killed during the call.
 *
 * READERS never wait for a writer, whether that is slow, stopped or dead. Readers are the calls that change nothing and
 * make no container: lookup, has and contains, get_many, length, iteration, index, count, equality, JSON, printing, and
 * mp_value_free(). During a change they see the dict as it was before. The first five take no lock. The others need the
 * dict as a whole: they copy it first, under its lock, or without the lock if they do not get it within a fifth of a
 * millisecond. Calls that make a new container of a dict (copy, keys, values, items) wait as writers do.
 *
 * HOLDS: WHO FREES WHAT. A dict or list stored in another container is shared, not copied. It lives as long as it is
 * stored somewhere or a process holds it. Each of these gives the calling process one hold:
 *   - mp_manager_dict(), mp_manager_list(), and each function that makes a new container of others (copy, keys, slice,
 *     concat, ...);
 *   - mp_dict_hold(), mp_dict_hold_dict() and the like;
 *   - an mp_value that comes out of a container (get, pop, setdefault, ...) and is a dict or list.
 *
 * Each hold is given up once, by any process that has the handle: with mp_dict_free() or mp_list_free(). The hold of an
 * mp_value is given up with mp_value_free(), or with mp_dict_free() or mp_list_free() of the handle in it, but not
 * both. So a producer may free a list as soon as it has stored it in another container, and the consumer frees what it
 * pops.
 *
 * BORROWED HANDLES. A handle is borrowed if it comes from mp_dict_get_dict(), mp_dict_get_list() or their like, or lies
 * in a value that an iterator, mp_dict_apply() or mp_list_sort() gives. It holds nothing and is not freed. Once its
 * container has ended, it is MP_EINVAL for good: it never leads to another container.
 *
 * DELAYED HOLDS. A reader that takes a container out records its hold in the manager's memory. While another process is
 * stopped inside the manager's allocator, that record is delayed; the container stays alive meanwhile. Up to 256
 * containers per manager can have such delayed holds at a time. A reader that takes out a further one waits for the
 * stopped process.
 *
 * DEATH OF A PROCESS. A hold ends with its process, as a descriptor does; but it lasts until the processes that were
 * forked from it since have ended too, because they have inherited its handles. A container that nothing else holds is
 * then given back to the manager after some time: at the latest when memory runs out, the manager is checked, or its
 * sizes are asked for.
 *
 * LIMITS. Containers that hold each other in a ring live until their manager ends. A container of another manager
 * cannot be stored (MP_EFOREIGN). Removing entries needs no memory of the heap, and what it frees is used for the next
 * ones, even in a full heap.
 *
 * ERRORS. Every function on a dict may return MP_EINVAL, and MP_ECORRUPT if the shared memory is damaged; the comments
 * below do not repeat them. They also use these short forms:
 *   - "store errors": MP_ENOMEM (the dict is unchanged), MP_EFOREIGN, MP_EDEADLK, and MP_ESYSTEM (the heap has to grow,
 *     and the program has closed the library's own descriptor);
 *   - "hold errors", of functions that give a hold: MP_ENOMEM and MP_ESYSTEM, as above;
 *   - MP_EDEADLK, of a function that changes the dict or looks at it as a whole: see mp_dict_apply();
 *   - MP_ETYPE, of a function that takes an mp_value as key: the key is a dict or list.
 */

/* Gives up one hold on the dict: one of the calling process or, if it has none, one of another process (the handle was
 * passed along). NULL is accepted. Errors: MP_EINVAL (also: no process holds it). Python: del. */
MP_API int mp_dict_free(mp_dict *dict);
/* Takes one more hold on the dict, until mp_dict_free(). Errors: hold errors. Python: another name for it. */
MP_API int mp_dict_hold(mp_dict *dict);

/* Short forms of d[key] = value. Keys and `text` are NUL-terminated strings; `size` is in bytes. Errors: store errors.
 * Python: d[key] = value. */
MP_API int mp_dict_set_none(mp_dict *dict, const char *key);
MP_API int mp_dict_set_bool(mp_dict *dict, const char *key, bool value);
MP_API int mp_dict_set_int(mp_dict *dict, const char *key, int64_t value);
MP_API int mp_dict_set_float(mp_dict *dict, const char *key, double value);
MP_API int mp_dict_set_str(mp_dict *dict, const char *key, const char *text);
MP_API int mp_dict_set_bytes(mp_dict *dict, const char *key, const void *data, size_t size);
MP_API int mp_dict_set_dict(mp_dict *dict, const char *key, mp_dict *value);
MP_API int mp_dict_set_list(mp_dict *dict, const char *key, mp_list *value);

/* Short forms of d[key]. Errors: MP_EKEY, MP_ETYPE (a value of another type; _float accepts an int as well). Python:
 * d[key].
 *
 * _str and _bytes copy into `buffer`, which has `size` bytes, and store the length in *length, which may be NULL. The
 * length does not count the NUL that ends a string, so a string needs length + 1 bytes. If the buffer is too small, the
 * error is MP_ETOOSMALL and *length is stored. After this and every other error the buffer is unchanged. `buffer` may
 * be NULL when size is 0. Errors besides: MP_ENOMEM (private memory, for more than 512 bytes). _dict and _list give a
 * borrowed handle. */
MP_API int mp_dict_get_bool(mp_dict *dict, const char *key, bool *value);
MP_API int mp_dict_get_int(mp_dict *dict, const char *key, int64_t *value);
MP_API int mp_dict_get_float(mp_dict *dict, const char *key, double *value);
MP_API int mp_dict_get_str(mp_dict *dict, const char *key, char *buffer, size_t size, size_t *length);
MP_API int mp_dict_get_bytes(mp_dict *dict, const char *key, void *buffer, size_t size, size_t *length);
MP_API int mp_dict_get_dict(mp_dict *dict, const char *key, mp_dict **value);
MP_API int mp_dict_get_list(mp_dict *dict, const char *key, mp_list **value);
/* Like _get_dict and _get_list, but the calling process holds the container: it lives until mp_dict_free() or
 * mp_list_free(), even if it is removed from this dict. Errors: MP_EKEY, MP_ETYPE, hold errors. Python: d[key]. */
MP_API int mp_dict_hold_dict(mp_dict *dict, const char *key, mp_dict **value);
MP_API int mp_dict_hold_list(mp_dict *dict, const char *key, mp_list **value);

/* Removes a key. Errors: MP_EKEY, MP_EDEADLK. Python: del d[key]. */
MP_API int mp_dict_remove_key(mp_dict *dict, const char *key);

/* Stores in *found whether the key is there. Errors: none besides. Python: key in d. */
MP_API int mp_dict_contains_key(mp_dict *dict, const char *key, bool *found);

/* Adds delta to the integer under key, atomically; a missing key counts as 0. Stores the new value in *now, which may
 * be NULL. Errors: MP_ETYPE (not an int), MP_EOVERFLOW (nothing is changed), store errors. Python: d[key] += delta,
 * under a lock. */
MP_API int mp_dict_add_int(mp_dict *dict, const char *key, int64_t delta, int64_t *now);

/* Subtracts `amount` from the integer under `from` and adds it to the one under `to`: both or neither. A missing key
 * counts as 0. Errors: MP_ETYPE, MP_EOVERFLOW, store errors. Python: none in one step. */
MP_API int mp_dict_transfer_int(mp_dict *dict, const char *from, const char *to, int64_t amount);

/* General forms, with keys of any type. A value that they store in *value owns its memory, or holds its container:
 * release it with mp_value_free(). */
/* Errors: MP_ETYPE, store errors. Python: d[key] = value. */
MP_API int mp_dict_set(mp_dict *dict, mp_value key, mp_value value);
/* Errors: MP_EKEY, MP_ETYPE, hold errors (MP_ENOMEM of strings and bytes too). Python: d[key]. */
MP_API int mp_dict_get(mp_dict *dict, mp_value key, mp_value *value);
/* Stores the value under key or, if the key is missing, a copy of the fallback; in both cases *value is to be freed. A
 * fallback that is not a valid value is MP_EINVAL, whether it is needed or not. Errors: as mp_dict_get(), without
 * MP_EKEY. Python: d.get(key, fallback). */
MP_API int mp_dict_get_default(mp_dict *dict, mp_value key, mp_value fallback, mp_value *value);
/* Sets the key to the fallback if the key is missing. *value, unless NULL, receives a copy of the value that is then
 * under key. Errors: MP_ETYPE, store errors, hold errors. Python: d.setdefault(key, fallback). */
MP_API int mp_dict_setdefault(mp_dict *dict, mp_value key, mp_value fallback, mp_value *value);
/* Errors: MP_EKEY, MP_ETYPE, MP_EDEADLK. Python: del d[key]. */
MP_API int mp_dict_remove(mp_dict *dict, mp_value key);
/* Removes the key and stores its value; `value` may be NULL. After an error the entry is still there. Errors: MP_EKEY,
 * MP_ETYPE, MP_EDEADLK, hold errors (MP_ENOMEM of strings and bytes too). Python: d.pop(key). */
MP_API int mp_dict_pop(mp_dict *dict, mp_value key, mp_value *value);
/* Like mp_dict_pop(), but a missing key gives a copy of the fallback, as in mp_dict_get_default(). `value` must not be
 * NULL. Errors: as mp_dict_pop(), without MP_EKEY. Python: d.pop(key, fallback). */
MP_API int mp_dict_pop_default(mp_dict *dict, mp_value key, mp_value fallback, mp_value *value);
/* Removes the newest entry and stores its key and value, either of which may be NULL. Errors: MP_EKEY (the dict is
 * empty), MP_EDEADLK, MP_ENOMEM, hold errors. Python: d.popitem(). */
MP_API int mp_dict_popitem(mp_dict *dict, mp_value *key, mp_value *value);
/* Errors: MP_ETYPE. Python: key in d. */
MP_API int mp_dict_contains(mp_dict *dict, mp_value key, bool *found);
/* Like mp_dict_add_int(), but with a key of any type. Errors: as mp_dict_add_int(). Python: d[key] += delta, under a
 * lock. */
MP_API int mp_dict_add(mp_dict *dict, mp_value key, int64_t delta, int64_t *now);
/* Stores `desired` if the value under key equals `expected` (as == does; containers by identity). Errors: MP_EKEY,
 * MP_ECHANGED, MP_ETYPE, store errors. Python: none in one step. */
MP_API int mp_dict_compare_and_swap(mp_dict *dict, mp_value key, mp_value expected, mp_value desired);
/* Moves the value under `from` to `to`, in one step. If `to` is there, its entry keeps its place and its key (1 stays 1
 * when `to` is 1.0), and its old value is released. If `to` is not there, or equals `from`, the entry becomes the
 * newest, with `to` as its key. After an error the dict is unchanged. Errors: MP_EKEY (`from` is not there), MP_ETYPE,
 * store errors. Python: d[to] = d.pop(from). */
MP_API int mp_dict_move(mp_dict *dict, mp_value from, mp_value to);

/* Calls `function` with the value under key; no other process or thread can change the dict meanwhile. If the key is
 * missing, the value is none and `present` is false. The function may replace *value; the new value must stay valid
 * until mp_dict_apply() returns. It returns 0 to have *value stored. Any other return value leaves the dict unchanged,
 * and mp_dict_apply() returns it. The function should be short, as writers of the dict wait for it.
 *
 * Inside the function:
 * - Reading single keys of the same dict is allowed, and finds the dict as it was.
 * - Changing the dict, or looking at it as a whole, is MP_EDEADLK.
 * - MP_EDEADLK is also the error of a call that would close a circle of waits: it would wait for a dict or list whose
 *   holder, also inside such a function, waits for this one. A circle may lead through several managers; only a process
 *   that has all of them open detects it.
 * - The thread cannot be cancelled.
 *
 * Leaving the function without a return: if the process is killed inside, or the function is left by a C++ exception or
 * the end of its thread, the dict is unchanged. Leaving it by longjmp() is undefined. In a child that was forked
 * inside, mp_dict_apply() returns MP_EFOREIGN after the function.
 *
 * Blocks: while others change the dict, and as long as the function does. Errors: MP_ETYPE (a container as key),
 * MP_EDEPTH (more than 32 such functions inside each other), store errors, and what the function returns. Python: with
 * lock: d[key] = f(d[key]). */
typedef int mp_dict_function(mp_value *value, bool present, void *arg);
MP_API int mp_dict_apply(mp_dict *dict, mp_value key, mp_dict_function *function, void *arg);

/* Many keys in one call: in a large dict several times as fast as one by one, as the cache misses overlap. `count` is
 * the number of keys and of values; no key may be a container. Both arrays may be NULL when count is 0. */
/* Stores in values[i] the value under keys[i], or none if there is no such key. *found, unless NULL, receives how many
 * keys were there. Each key is read separately, as by mp_dict_get(), not all at one moment. Release each value with
 * mp_value_free(). After an error about a key or a value, all `count` values are none. Errors: MP_ETYPE, hold errors
 * (MP_ENOMEM of strings and bytes too). Python: [d.get(key) for key in keys]. */
MP_API int mp_dict_get_many(mp_dict *dict, const mp_value *keys, mp_value *values, size_t count, size_t *found);
/* Sets one key after the other, each as by mp_dict_set(). *done, unless NULL, receives how many were set; after an
 * error, how many were set before the key or value that caused it. (mp_dict_update() sets all or none.) Errors:
 * MP_ETYPE, store errors. Python: for key, value in zip(keys, values): d[key] = value. */
MP_API int mp_dict_set_many(mp_dict *dict, const mp_value *keys, const mp_value *values, size_t count, size_t *done);

/* Stores the number of entries. A change counts as a whole or not at all, even when the process that made it died
 * during the change. Errors: none besides. Python: len(d). */
MP_API int mp_dict_length(mp_dict *dict, size_t *length);
/* Errors: MP_EDEADLK. Python: d.clear(). */
MP_API int mp_dict_clear(mp_dict *dict);
/* Makes a new dict of the same manager with the same entries, as they were at one moment. The caller holds it. Errors:
 * store errors. Python: d.copy(). */
MP_API int mp_dict_copy(mp_dict *dict, mp_dict **copy);
/* Sets all entries of another dict, as they were at one moment, in one step: all or none. Errors: store errors. Python:
 * d.update(other). */
MP_API int mp_dict_update(mp_dict *dict, mp_dict *other);
/* Compares two dicts as mp_value_equal() does, and with its errors. They may be of different managers. Python: a ==
 * b. */
MP_API int mp_dict_equal(mp_dict *a, mp_dict *b, bool *equal);
/* Make new lists of the same manager, with the contents of the dict at one moment; _items makes a list of [key, value]
 * lists. The caller holds the new list. Errors: store errors. Python: list(d.keys()), list(d.values()),
 * list(d.items()). */
MP_API int mp_dict_keys(mp_dict *dict, mp_list **keys);
MP_API int mp_dict_values(mp_dict *dict, mp_list **values);
MP_API int mp_dict_items(mp_dict *dict, mp_list **items);
/* Write the dict as mp_value_print() and mp_value_json() do, and with their errors. Python: print(d), json.dumps(d). */
MP_API int mp_dict_print(mp_dict *dict, FILE *stream);
MP_API int mp_dict_json(mp_dict *dict, char **text);

/* Iteration in order of insertion, while others may change the dict. An entry that stays is met once; no entry is met
 * twice; an entry added after the start is not met. The iterator belongs to the calling process; only one thread at a
 * time may use it. It does not hold the dict.
 *
 * mp_dict_iter_create(): *iter is released with mp_dict_iter_free(). Errors: MP_ENOMEM.
 *
 * mp_dict_next(): stores the next key and value, either of which may be NULL. They are borrowed: valid until the next
 * call on the iterator, and not to be freed; a container among them is held until then. The entry is in the dict at the
 * moment of the call. Errors: MP_EINVAL (also: the dict has ended), MP_ESTOP (the end), hold errors (the next call
 * continues with the entry that failed; MP_ENOMEM of strings and bytes too). Python: for key, value in d.items(). */
typedef struct mp_dict_iter mp_dict_iter;
MP_API int mp_dict_iter_create(mp_dict_iter **iter, mp_dict *dict);
MP_API int mp_dict_next(mp_dict_iter *iter, mp_value *key, mp_value *value);
MP_API int mp_dict_iter_free(mp_dict_iter *iter);

/* ---------------------------------------------------------------------------------------------------------- list
 *
 * All that is said of dicts above also holds for lists, including the errors. A negative index counts from the end, as
 * in Python. A list is also an efficient deque: append, insert and pop at either end take no longer in a long list; in
 * the middle they do. Deleting a few elements at an end with one slice, or appending them with one extend, is as cheap
 * as one by one.
 */

/* The omitted bounds of a slice: MP_END for a slice to the end, MP_BEGIN for one from the beginning; with a negative
 * step, a slice from the last element starts at MP_END, and one down to the first stops at MP_BEGIN. Python: None. */
#define MP_END INT64_MAX
#define MP_BEGIN INT64_MIN

/* Like mp_dict_free() and mp_dict_hold(), with the same errors. Python: del; another name for it. */
MP_API int mp_list_free(mp_list *list);
MP_API int mp_list_hold(mp_list *list);

/* Short forms. Errors: of append and set, store errors; of set and get, MP_EINDEX; of get, MP_ETYPE. Buffers, lengths
 * and borrowed handles: as in the dict's short forms. Python: l.append(x), l[i] = x, l[i]. */
MP_API int mp_list_append_none(mp_list *list);
MP_API int mp_list_append_bool(mp_list *list, bool value);
MP_API int mp_list_append_int(mp_list *list, int64_t value);
MP_API int mp_list_append_float(mp_list *list, double value);
MP_API int mp_list_append_str(mp_list *list, const char *text);
MP_API int mp_list_append_bytes(mp_list *list, const void *data, size_t size);
MP_API int mp_list_append_dict(mp_list *list, mp_dict *value);
MP_API int mp_list_append_list(mp_list *list, mp_list *value);
MP_API int mp_list_set_int(mp_list *list, int64_t index, int64_t value);
MP_API int mp_list_set_float(mp_list *list, int64_t index, double value);
MP_API int mp_list_set_str(mp_list *list, int64_t index, const char *text);
MP_API int mp_list_get_bool(mp_list *list, int64_t index, bool *value);
MP_API int mp_list_get_int(mp_list *list, int64_t index, int64_t *value);
MP_API int mp_list_get_float(mp_list *list, int64_t index, double *value);
MP_API int mp_list_get_str(mp_list *list, int64_t index, char *buffer, size_t size, size_t *length);
MP_API int mp_list_get_bytes(mp_list *list, int64_t index, void *buffer, size_t size, size_t *length);
MP_API int mp_list_get_dict(mp_list *list, int64_t index, mp_dict **value);
MP_API int mp_list_get_list(mp_list *list, int64_t index, mp_list **value);
/* Like mp_dict_hold_dict() and mp_dict_hold_list(): the calling process holds the container. Errors: MP_EINDEX,
 * MP_ETYPE, hold errors. Python: l[i]. */
MP_API int mp_list_hold_dict(mp_list *list, int64_t index, mp_dict **value);
MP_API int mp_list_hold_list(mp_list *list, int64_t index, mp_list **value);
/* Adds delta to the integer at index, atomically. Stores the new value in *now, which may be NULL. Errors: MP_EINDEX,
 * MP_ETYPE, MP_EOVERFLOW (nothing is changed), MP_EDEADLK. Python: l[i] += delta, under a lock. */
MP_API int mp_list_add_int(mp_list *list, int64_t index, int64_t delta, int64_t *now);

/* General forms. A value that they store in *value owns its memory, or holds its container: release it with
 * mp_value_free(). */
/* Errors: store errors. Python: l.append(x). */
MP_API int mp_list_append(mp_list *list, mp_value value);
/* Inserts before the element at index; an index past either end means that end. Needs memory for the value, for up to
 * 1024 elements, and 16 bytes for each 1024 elements of the list. Errors: store errors. Python: l.insert(i, x). */
MP_API int mp_list_insert(mp_list *list, int64_t index, mp_value value);
/* Errors: MP_EINDEX, hold errors (MP_ENOMEM of strings and bytes too). Python: l[i]. */
MP_API int mp_list_get(mp_list *list, int64_t index, mp_value *value);
/* Errors: MP_EINDEX, store errors. Python: l[i] = x. */
MP_API int mp_list_set(mp_list *list, int64_t index, mp_value value);
/* Stores `desired` if the value at index equals `expected` (as == does; containers by identity). Errors: MP_EINDEX,
 * MP_ECHANGED, store errors. Python: none in one step. */
MP_API int mp_list_compare_and_swap(mp_list *list, int64_t index, mp_value expected, mp_value desired);
/* Errors: MP_EINDEX, MP_EDEADLK. Python: del l[i]. */
MP_API int mp_list_delete(mp_list *list, int64_t index);
/* Removes the element at index (-1: the last) and stores it; `value` may be NULL. After an error the element is still
 * there. Errors: MP_EINDEX, MP_EDEADLK, hold errors (MP_ENOMEM of strings and bytes too). Python: l.pop(i). */
MP_API int mp_list_pop(mp_list *list, int64_t index, mp_value *value);
/* Removes the first element that equals the value (==). The search takes no lock; if the list changes meanwhile, it
 * starts again. Errors: MP_EVALUE (no element is equal), MP_EDEPTH, MP_ENOMEM, MP_ESYSTEM, MP_EDEADLK. Python:
 * l.remove(x). */
MP_API int mp_list_remove(mp_list *list, mp_value value);
/* Search a copy of the list as it is at one moment: for the first equal element, for the number of equal elements, for
 * any. Errors: MP_EDEPTH, MP_ENOMEM, MP_ESYSTEM, MP_EDEADLK; of _index also MP_EVALUE (no element is equal). Python:
 * l.index(x), l.count(x), x in l. */
MP_API int mp_list_index(mp_list *list, mp_value value, size_t *index);
MP_API int mp_list_count(mp_list *list, mp_value value, size_t *count);
MP_API int mp_list_contains(mp_list *list, mp_value value, bool *found);
/* Stores the number of elements, as mp_dict_length() does. Errors: none besides. Python: len(l). */
MP_API int mp_list_length(mp_list *list, size_t *length);
/* Errors: MP_EDEADLK. Python: l.clear(). */
MP_API int mp_list_clear(mp_list *list);
/* Appends all elements of another list, or none. `other` may be the list itself. Errors: store errors. Python:
 * l.extend(other). */
MP_API int mp_list_extend(mp_list *list, mp_list *other);
/* Appends `count` values of the caller's, all or none. `values` may be NULL when count is 0. Errors: MP_EOVERFLOW (more
 * than memory has addresses for), store errors. Python: l.extend([...]). */
MP_API int mp_list_extend_values(mp_list *list, const mp_value *values, size_t count);
/* Makes a new list of the same manager, which the caller holds. MP_BEGIN and MP_END stand for Python's omitted bounds:
 * for a negative step, start at MP_END and stop at MP_BEGIN. Errors: MP_EVALUE (step is 0), store errors. Python:
 * l[start:stop:step]. */
MP_API int mp_list_slice(mp_list *list, int64_t start, int64_t stop, int64_t step, mp_list **slice);
/* Replaces the slice by the elements of `other`. With a step other than 1 their lengths must be equal. After an error
 * the list is unchanged. Errors: MP_EVALUE (the lengths are not equal, or step is 0), store errors. Python:
 * l[start:stop:step] = other. */
MP_API int mp_list_set_slice(mp_list *list, int64_t start, int64_t stop, int64_t step, mp_list *other);
/* Deletes the slice. Needs no memory of the heap. Errors: MP_EVALUE (step is 0), MP_EDEADLK. Python: del
 * l[start:stop:step]. */
MP_API int mp_list_delete_slice(mp_list *list, int64_t start, int64_t stop, int64_t step);
/* Needs no memory. Errors: MP_EDEADLK. Python: l.reverse(). */
MP_API int mp_list_reverse(mp_list *list);
/* Sorts in place, stably: ascending, or descending if `reverse`; equal elements keep their order in both cases.
 * `compare` receives two borrowed values and returns less than, equal to, or more than 0. If it is NULL, elements are
 * ordered by value, as Python orders numbers, strings and bytes; values of types without an order are MP_ETYPE. After
 * an error the list is unchanged. mp_dict_apply() tells what `compare` may do, and how it may be left. Errors:
 * MP_ETYPE, MP_ENOMEM, MP_ESYSTEM, MP_EDEADLK, MP_EDEPTH, MP_EFOREIGN (in a child forked inside `compare`). Python:
 * l.sort(key=functools.cmp_to_key(compare), reverse=reverse). */
typedef int mp_compare(const mp_value *a, const mp_value *b, void *arg);
MP_API int mp_list_sort(mp_list *list, mp_compare *compare, void *arg, bool reverse);
/* Makes a new list of the same manager with the same elements, as they were at one moment. The caller holds it. Errors:
 * store errors. Python: l.copy(). */
MP_API int mp_list_copy(mp_list *list, mp_list **copy);
/* Makes a new list of a's manager with the elements of a, then those of b. The caller holds it. Errors: store errors
 * (MP_EFOREIGN: b holds a container of another manager). Python: a + b. */
MP_API int mp_list_concat(mp_list *a, mp_list *b, mp_list **sum);
/* Makes a new list of the same manager with the elements `times` times over; `times` less than 1 gives an empty list.
 * The caller holds it. Errors: MP_EOVERFLOW, store errors. Python: l * times. */
MP_API int mp_list_repeat(mp_list *list, int64_t times, mp_list **product);
/* Compares two lists as mp_dict_equal() compares dicts, and with its errors. Python: a == b. */
MP_API int mp_list_equal(mp_list *a, mp_list *b, bool *equal);
/* Write the list as mp_dict_print() and mp_dict_json() write a dict, and with their errors. Python: print(l),
 * json.dumps(l). */
MP_API int mp_list_print(mp_list *list, FILE *stream);
MP_API int mp_list_json(mp_list *list, char **text);

/* Iteration by index, as Python's: each step gives the element that is at its index at that moment. Once an iterator
 * has reached the end, it stays there. It belongs to the calling process; only one thread at a time may use it. It does
 * not hold the list.
 *
 * mp_list_iter_create(): *iter is released with mp_list_iter_free(). Errors: MP_ENOMEM.
 *
 * mp_list_next(): stores the next element in *value. It is borrowed: valid until the next call on the iterator, and not
 * to be freed; a container is held until then. Errors: MP_EINVAL (also: the list has ended), MP_ESTOP (the end), hold
 * errors (MP_ENOMEM of strings and bytes too). Python: for x in l. */
typedef struct mp_list_iter mp_list_iter;
MP_API int mp_list_iter_create(mp_list_iter **iter, mp_list *list);
MP_API int mp_list_next(mp_list_iter *iter, mp_value *value);
MP_API int mp_list_iter_free(mp_list_iter *iter);

/* ---------------------------------------------------------------------------------------------------------- lock
 *
 * A mutual-exclusion lock between processes and threads. It is owned by the thread that took it. If that thread dies
 * while it holds the lock, in whatever way (exit and exec included), the next thread to take it gets MP_EOWNERDEAD: it
 * holds the lock, and should check whether the data that the lock protects is whole.
 *
 * A thread may hold any number of locks. When it dies, the kernel marks about 2 000 of them, those that it took last.
 * Threads that want one of the others find out that it is free, at once or within about 50 ms (300 ms if the dead
 * thread's process now executes another program), provided that /proc is mounted and kill() is not refused.
 *
 * Processes of several PID namespaces may share a lock, with these limits. If the holder and a thread that wants the
 * lock have the same thread ID in two namespaces, the latter gets the lock up to 2 ms late, and must not be killed in
 * the instant in which it asks for it. And of the locks that the kernel does not mark, only those held in the caller's
 * own namespace are found to be free.
 *
 * A handle whose memory this process does not have (made in another process after the fork, or freed here) is
 * MP_EINVAL. Every function on a lock may return MP_ECORRUPT if the lock's memory is damaged; the comments below do not
 * repeat it.
 */
typedef struct mp_lock mp_lock;

typedef struct mp_lock_options {
    const char *name; /* NULL: shared with the processes forked after it was made. Else: a named one */
} mp_lock_options;

/* Makes a lock. `options` may be NULL. *lock is released with mp_lock_free(): an anonymous lock once, by any process
 * that has it; a named lock by each process that has it. Names follow the rules of mp_manager_create(). A process can
 * make about a million anonymous locks. Blocks: an anonymous one, no; a named one as mp_manager_create(). Errors:
 * MP_ENAME, MP_EEXIST, MP_EKIND, MP_EACCESS, MP_ENOMEM, MP_EAGAIN, MP_ESYSTEM. Python: multiprocessing.Lock(). */
MP_API int mp_lock_create(mp_lock **lock, const mp_lock_options *options);
/* Opens a named lock, or makes it if there is none. `options` is reserved and must be NULL. Each call gives a handle of
 * its own, which is released with mp_lock_free(). Blocks: as mp_manager_open(). Errors: as mp_lock_create(), without
 * MP_EEXIST; MP_EVERSION. Python: none. */
MP_API int mp_lock_open(mp_lock **lock, const char *name, const mp_lock_options *options);
/* Releases the handle; for an anonymous lock, the lock itself, in all processes. A lock that is held is MP_EBUSY and
 * unchanged; a lock that others only wait for is freed. Other threads (of an anonymous lock, also other processes) may
 * be inside calls on it or wait for it. Their calls fail with MP_EINVAL, unless they take the lock first; then this
 * call is MP_EBUSY. The last process to free a named lock removes its name; other processes keep their handles. Blocks:
 * no; a named one as mp_manager_free(), and until waiting threads of this process have left, about 50 ms. Errors:
 * MP_EBUSY. Python: del. */
MP_API int mp_lock_free(mp_lock *lock);
/* Removes the name at once. Processes that have the lock open keep it; the next create or open makes another. Blocks
 * and errors: as mp_manager_unlink(). Python: none. */
MP_API int mp_lock_unlink(const char *name);

/* Takes the lock, waiting for `timeout` seconds at most. Blocks: until the lock is free. With a timeout of 0 or less it
 * does not block: it takes the lock only if it is free and no waiter's turn.
 *
 * Fairness: the wait is bounded.
 * - A thread that has waited for 1 ms is queued (up to 64 threads; further ones wait for a place in the queue). Queued
 *   threads get the lock in the order in which they were queued, before all later calls, including those with a timeout
 *   of 0. So a queued thread waits only for those before it, for each of them once.
 * - Threads that are not queued get the lock in any order.
 * - A queued thread may fail to take the free lock in its turn (it was killed or stopped, or gets no CPU). The others
 *   then wait for about 5 ms (50 ms if all of them are queued); after that the waiting threads are queued anew, in any
 *   order.
 *
 * Errors: MP_EOWNERDEAD (the caller HOLDS the lock), MP_ETIMEOUT, MP_EDEADLK (this thread holds it), MP_EINVAL (also:
 * it was freed meanwhile), MP_ENOMEM (a thread's first call on a named lock). Python: lock.acquire(block, timeout). */
MP_API int mp_lock_acquire(mp_lock *lock, double timeout);
/* Gives the lock back. Never blocks. Errors: MP_ENOTOWNER, MP_ENOMEM (a thread's first call on a named lock). Python:
 * lock.release(). */
MP_API int mp_lock_release(mp_lock *lock);

/* MP_WITH_LOCK(lock) { ... }: runs the block with the lock held, and releases it however the block is left: at its end,
 * by break or continue, and with gcc and clang also by return or goto. If the lock cannot be taken (not a live lock, or
 * this thread holds it already), the block does not run. A lock whose owner died is taken like any other. That death is
 * still reported later: the next mp_lock_acquire() or MP_WITH_LOCK_STATUS() gets MP_EOWNERDEAD, however often
 * MP_WITH_LOCK has taken the lock meanwhile.
 *
 * MP_WITH_LOCK_STATUS(lock, &status) { ... }: like MP_WITH_LOCK, but also stores in the int `status` what
 * mp_lock_acquire() returned: 0; MP_EOWNERDEAD (the block runs); or an error (it does not run). If &status is NULL, the
 * block does not run. Blocks: as mp_lock_acquire() with MP_FOREVER. Python: with lock: */
typedef struct mp_lock_guard {
    mp_lock *lock; /* NULL: not taken */
    int untold;    /* the last owner died, and no caller has been told yet */
} mp_lock_guard;
/* The functions behind the macros. The first two take the lock; the third releases what they took, and does nothing
 * when called again or with NULL. */
MP_API mp_lock_guard mp_lock_guard_enter(mp_lock *lock);
MP_API mp_lock_guard mp_lock_guard_enter_status(mp_lock *lock, int *status);
MP_API void mp_lock_guard_leave(mp_lock_guard *guard);
#if defined(__GNUC__) || defined(__clang__)
#define MP_CLEANUP_GUARD __attribute__((cleanup(mp_lock_guard_leave)))
#else
#define MP_CLEANUP_GUARD
#endif
#define MP_WITH_LOCK(lock_) MP_WITH_GUARD(mp_lock_guard_enter(lock_))
#define MP_WITH_LOCK_STATUS(lock_, status_) MP_WITH_GUARD(mp_lock_guard_enter_status(lock_, status_))
#define MP_WITH_GUARD(entered_) \
    for (mp_lock_guard mp_guard_ MP_CLEANUP_GUARD = entered_; mp_guard_.lock != NULL; mp_lock_guard_leave(&mp_guard_))

/* ------------------------------------------------------------------------------------------------------- process */

typedef struct mp_process mp_process;

/* What a child runs. Its return value is the exit code (its low 8 bits). */
typedef int mp_process_function(void *arg);

#define MP_EXITCODE_NONE INT32_MIN          /* still running */
#define MP_EXITCODE_UNKNOWN (INT32_MIN + 1) /* ended, but reaped by the program itself: its code is lost */

typedef enum mp_daemon {
    MP_DAEMON_INHERIT = 0, /* as the process that starts it is */
    MP_DAEMON_YES = 1,     /* ends with its parent process, however that ends: see below */
    MP_DAEMON_NO = 2       /* is waited for when its parent exits normally */
} mp_daemon;

typedef struct mp_process_options {
    const char *name; /* 1 to 200 bytes. NULL: "Process-1", and for children of children "Process-1:1" */
    mp_daemon daemon;
} mp_process_options;

/* Starts a process that runs function(arg) and ends with its return value. It is a fork: the child has a copy of the
 * caller's memory, its descriptors, signal dispositions and signal mask, and of its threads only the calling one.
 * stdout and stderr are flushed before the fork and at the child's end; the function must itself flush other streams
 * that it writes to. What other threads print meanwhile is printed once, by the calling process. The child leaves with
 * _exit: the caller's atexit handlers do not run in it. `options` may be NULL. *process is released with
 * mp_process_free(), once the process has ended.
 *
 * Daemons: a daemon ends when its parent process ends, even if the parent is killed or executes another program,
 * whichever thread started the daemon and whichever threads have ended. This holds even if the daemon has executed
 * another program, has closed descriptors, or has become another user's. (Exception: in a user namespace, where root is
 * not the machine's root, a daemon that has become another user's stays when its parent is killed.) A daemon costs its
 * parent two close-on-exec descriptors, and itself none. A parent that closes them kills the daemon. A child that the
 * parent makes without the C library's fork handlers (_Fork(), clone()) has them open as well: the daemon then ends
 * when both have ended. If descriptors have run out or the system refuses them, a daemon of the main thread ends with
 * that thread, and stays if it becomes another user's; a daemon of another thread is MP_EAGAIN or MP_ESYSTEM.
 *
 * Blocks: while the caller's output is flushed, and for 50 ms at most for another thread that prints. Errors:
 * MP_EINVAL, MP_ENAME (a name that is too long or empty), MP_EAGAIN, MP_ENOMEM, MP_ESYSTEM; after an error nothing is
 * left behind. Python: Process(target=function, args=(arg,)).start(). */
MP_API int mp_process_start(mp_process **process, mp_process_function *function, void *arg,
                            const mp_process_options *options);

/* Waits for the process to end. It may be called more than once, and by several threads. Blocks: for `timeout` seconds
 * at most. Errors: MP_ETIMEOUT, MP_EFOREIGN (not a child of the calling process; itself). Python: p.join(timeout). */
MP_API int mp_process_join(mp_process *process, double timeout);

/* Releases the handle. NULL is accepted. Never blocks. Errors: MP_EBUSY (the process still runs; the handle stays
 * valid), MP_EFOREIGN. Python: p.close(). */
MP_API int mp_process_free(mp_process *process);

/* Stores whether the process still runs; if it has ended, reaps it. Also for mp_process_current() and
 * mp_process_parent(). Never blocks. Errors: MP_EFOREIGN. Python: p.is_alive(). */
MP_API int mp_process_is_alive(mp_process *process, bool *alive);

/* Stores the exit code: what the function returned, minus the signal that killed it, MP_EXITCODE_NONE while it runs, or
 * MP_EXITCODE_UNKNOWN. Never blocks. Errors: MP_EFOREIGN. Python: p.exitcode. */
MP_API int mp_process_exitcode(mp_process *process, int *exitcode);

/* Send SIGTERM, SIGKILL, SIGINT to the process. After its end they do nothing: the signal never reaches another process
 * that has been given its pid. Never block. Errors: MP_EFOREIGN, MP_ESYSTEM (not permitted, as one of the two processes
 * has become another user's; mp_process_kill() kills a daemon all the same). Python: p.terminate(), .kill(),
 * .interrupt(). */
MP_API int mp_process_terminate(mp_process *process);
MP_API int mp_process_kill(mp_process *process);
MP_API int mp_process_interrupt(mp_process *process);

/* The pid, the name (valid while the handle is; never NULL, "" for a handle that is not live), and whether it is a
 * daemon. They accept every handle that the calling process has, inherited ones included. Never block. Errors: none
 * besides. Python: p.pid, p.name, p.daemon. */
MP_API int mp_process_pid(mp_process *process, pid_t *pid);
MP_API const char *mp_process_name(mp_process *process);
MP_API int mp_process_is_daemon(mp_process *process, bool *daemon);

/* Stores up to `capacity` handles of the calling process's live children, oldest first, and the number of all live ones
 * in *count; reaps the children that have ended. `processes` may be NULL when capacity is 0. The handles are those that
 * mp_process_start() gave. Never blocks. Errors: none besides. Python: active_children(). */
MP_API int mp_process_children(mp_process **processes, size_t capacity, size_t *count);

/* mp_process_current() gives the calling process (named "MainProcess" in a program's first process).
 * mp_process_parent() gives the process that started it; NULL in the main process and in a process that the library did
 * not start. The handles are never freed. Never block. Python: current_process(), parent_process(). */
MP_API mp_process *mp_process_current(void);
MP_API mp_process *mp_process_parent(void);

/* At a normal end of the program (return from main, exit, the last thread's end) the library acts in this order:
 * 1. It terminates pools.
 * 2. It sends SIGTERM to daemons, and SIGKILL a second later; daemons that may not be sent SIGTERM are killed at once.
 * 3. It waits for the children that are not daemons.
 *
 * A child that the program makes without the C library's fork handlers (_Fork(), clone(), vfork()) ends none of its
 * parent's processes and pools. In a child made with clone(), the C library still assumes that it runs in the parent's
 * thread. Therefore managers, locks and pools can be neither made nor opened there: MP_ESYSTEM. Inherited ones can be
 * used; but if the child is killed, the system reports none of the locks that it holds. */

/* ---------------------------------------------------------------------------------------------------------- pool
 *
 * A pool of worker processes that run functions of the program. Arguments and results are passed by value. A small
 * supervisor process starts the workers and replaces those that die. A task's function must be one that
 * the program had when the pool was made.
 *
 * What a task finds: every worker, replacements included, is a copy of the process as it was when the pool was made:
 * its memory, descriptors, environment, directory, user, and the stack of the thread that made the pool, whose size is
 * the task's. Later changes on one side are not seen on the other, except in shared memory. stdout and stderr are
 * flushed after each task (in a map, after each chunk).
 *
 * Order: tasks begin in the order in which they were submitted, as workers become free; those of several threads in the
 * order of the calls. They end in any order. A worker takes several tasks of about a microsecond or less at a time:
 * neighbours may then begin in another order. A task that is run again because its worker died begins at any time
 * between others.
 *
 * Signals: tasks, and programs that they start, have the signal dispositions and the signal mask that the program had
 * when the pool was made. Supervisor and workers have a process group of their own. So they do not receive the signals
 * of a terminal (SIGINT, SIGQUIT, SIGTSTP, SIGHUP), or of a kill() to the caller's group; a program that handles such a
 * signal can let its tasks finish. The supervisor blocks all signals. The consequences:
 * - For a terminal the workers are in the background: a task that reads from it, or changes its settings, is stopped
 *   (SIGTTIN, SIGTTOU).
 * - Stopping the caller (Ctrl-Z) stops no task.
 * - A service manager that sends a signal to each process, and not to the group, reaches the workers as well. Install
 *   the handler before the pool is made, so that workers have it too; or have the service manager signal the main
 *   process first.
 *
 * Privileges: a caller that gives up its privileges keeps its pool, and so does a program in which a task or the
 * initializer gives them up; all processes still end as they should. If the supervisor may not kill a worker (as the
 * supervisor was made with fewer privileges), that worker ends with its task.
 *
 * Threads: a thread may free a pool or a result while other threads are inside calls on it. Those calls fail with
 * MP_ETERMINATED, MP_ECLOSED or MP_EINVAL, and the call that frees waits until they have returned. After that the
 * address must not be used any more. Every call on a pool or a result may return MP_EFOREIGN (another process made it),
 * and MP_ENOMEM if it is a thread's first; the comments below do not repeat these.
 */
typedef struct mp_pool mp_pool;
typedef struct mp_result mp_result;

/* A task. `arg` points to a copy of the argument's bytes (NULL when their size is 0). `result` points to result_size
 * zeroed bytes (NULL when that is 0). Both are aligned to 16; in a map, the first item is, and every item if the size
 * is a multiple of 16.
 *
 * It returns 0, or a failure code above 0 (Python's exception), which mp_pool_apply() or mp_result_get() returns. A
 * task that ends with `return mp_...()` may return one of the library's codes, MP_EINVAL to MP_EDEPTH: it is passed on
 * unchanged, and cannot be told from an error of the pool. Any other negative value counts as MP_EVALUE. */
typedef int mp_task_function(const void *arg, void *result);

typedef struct mp_pool_options {
    int (*initializer)(void *arg); /* runs once in each worker before its first task; not 0: the pool is broken */
    void *initializer_arg;         /* passed on as it is: memory the workers inherit */
    int max_tasks_per_child;       /* a worker is replaced after this many tasks (chunks of map); 0: never */
    int retries;                   /* how often a task is run again after its worker died; 0: never */
} mp_pool_options;

/* Starts a pool of `workers` processes, at most MP_POOL_MAX_WORKERS; 0 means mp_usable_cpu_count(). `options` may be
 * NULL. *pool is released with mp_pool_free(). Blocks: until the workers are started (not for their initializers).
 * Errors: MP_EAGAIN, MP_ENOMEM, MP_EBROKEN (the supervisor was killed meanwhile), MP_ESYSTEM (errno says more: for
 * instance, a system call is refused); after an error nothing is left behind. Python: Pool(workers, initializer,
 * initargs, maxtasksperchild). */
#define MP_POOL_MAX_WORKERS 1024
MP_API int mp_pool_create(mp_pool **pool, int workers, const mp_pool_options *options);

/* Runs one task and waits for it. `result` receives result_size bytes. `result` and result_size may be NULL and 0, and
 * so may `arg` and arg_size. Returns 0, the task's own failure code (above 0), or: MP_ECLOSED, MP_EBROKEN,
 * MP_EINITIALIZER, MP_ETERMINATED, MP_EDIED - ..., MP_ENOMEM, MP_ESYSTEM, MP_EVALUE, MP_ETOOSMALL (mp_task_return()
 * gave more than fits). Blocks: until the task has ended. Python: pool.apply(). */
MP_API int mp_pool_apply(mp_pool *pool, mp_task_function *function, const void *arg, size_t arg_size, void *result,
                         size_t result_size);

/* Queues one task and returns at once. *result is a handle to be freed with mp_result_free(). `result` may be NULL: the
 * task's outcome is then discarded. Blocks: no. Errors: MP_ECLOSED, MP_EBROKEN, MP_EINITIALIZER, MP_ENOMEM, MP_ESYSTEM.
 * Python: pool.apply_async(). */
MP_API int mp_pool_apply_async(mp_pool *pool, mp_task_function *function, const void *arg, size_t arg_size,
                               size_t result_size, mp_result **result);

typedef struct mp_map_options {
    /* The number of items that a worker takes at a time; more than there are means all. 0: guided scheduling, with
     * chunks that get smaller towards the end, so that all workers end together; with max_tasks_per_child, items / (4 *
     * workers), rounded up. */
    size_t chunk_size;
    int *status; /* NULL, or room for a code for each item: 0, its failure code, or MP_E...; mp_pool_map_with() only */
    void *results; /* NULL, or where the results go, see "In place"; mp_pool_map_async() only */
} mp_map_options;

/* Runs `function` over `count` items of arg_size bytes each, which lie one after the other at `args`, and stores their
 * results (result_size bytes each) one after the other at `results`. Every item is run, even if others fail. The return
 * value is the failure code of the failed item with the lowest index, or an error as of mp_pool_apply(). Results of
 * failed items are zeroed. If a worker dies, only the item that it was running fails: another worker runs the rest of
 * its chunk. Tasks may begin before all arguments are copied, and results are stored while other tasks still run. So
 * tasks that share this memory with the calling process must neither change `args` nor read `results`. Errors besides:
 * MP_EOVERFLOW (more than 2^40 items or bytes of each, or 2^44 bytes in all). Blocks: until all items are done. Python:
 * pool.map().
 *
 * In place: arguments and results in memory of mp_manager_alloc() that begin at a multiple of 16 are not copied: tasks
 * read or write them there. All else is as with copies, except that no one else may write there until the map has
 * ended, and that results are visible before. `results` may be `args` (or overlap it): then the arguments are copied,
 * so that an item whose worker died can be run again. Tasks must not free that manager.
 *
 * Managers younger than the pool: a manager that was not open in this process when the pool was made is mapped by the
 * pool's processes when a map first uses it, possibly at another address. They map its memory only: handles of its
 * containers are not valid there. They unmap it when this process has freed the manager and the last map that uses it;
 * a worker that is running a task, after that task. They keep up to 16 such managers mapped, those used last. A worker
 * that cannot map one (it lacks descriptors, or has changed its user) is replaced. The memory is copied instead in two
 * cases:
 * - The system does not let processes look at each other through /proc, which prctl(PR_SET_DUMPABLE, 0) also forbids.
 * - Maps that have not ended use 16 other such managers. */
MP_API int mp_pool_map(mp_pool *pool, mp_task_function *function, const void *args, size_t arg_size, void *results,
                       size_t result_size, size_t count);
MP_API int mp_pool_map_with(mp_pool *pool, mp_task_function *function, const void *args, size_t arg_size, void *results,
                            size_t result_size, size_t count, const mp_map_options *options);
/* Like mp_pool_map_with(), but does not wait: *result is to be freed with mp_result_free(). mp_result_get() delivers
 * count * result_size bytes, and mp_result_status() each item's status. `options` may be NULL; options->status must be
 * NULL. Without options->results, args are copied before the call returns.
 *
 * With options->results, the results go there. It must be memory of mp_manager_alloc() that begins at a multiple of 16
 * (else MP_EINVAL). Then args can be used in place as well, and must not change until the map has ended.
 * mp_result_get() with a NULL buffer copies nothing; with another buffer, it may be MP_EINVAL once this process has
 * closed the manager. If the memory of a manager younger than the pool had to be copied, the results are there once the
 * map was waited for, or found to have ended, or its handle was freed after its end.
 *
 * Blocks: no. Errors: as mp_pool_apply_async(), and MP_EOVERFLOW. Python: pool.map_async(). */
MP_API int mp_pool_map_async(mp_pool *pool, mp_task_function *function, const void *args, size_t arg_size,
                             size_t result_size, size_t count, mp_result **result, const mp_map_options *options);

/* Refuses new tasks from now on. The tasks submitted before are finished, then the workers end. It may be called more
 * than once. Blocks: no. Errors: none besides. Python: pool.close(). */
MP_API int mp_pool_close(mp_pool *pool);
/* Stops the workers at once. Tasks that have not finished fail with MP_ETERMINATED. Blocks: until the workers have
 * ended (well under a second). Errors: MP_ESYSTEM (the supervisor was stopped by a signal, and this process may neither
 * continue nor kill it). Python: pool.terminate(). */
MP_API int mp_pool_terminate(mp_pool *pool);
/* Waits until every worker has ended. Blocks: until all tasks are done. Errors: MP_EBUSY (before mp_pool_close() or
 * mp_pool_terminate()), MP_EBROKEN (the supervisor died first). Python: pool.join(). */
MP_API int mp_pool_join(mp_pool *pool);
/* Terminates the pool if it still runs, and releases it with all its results, whose handles are errors from now on.
 * NULL is accepted. Blocks: until the workers have ended, and other threads have left their calls on the pool. Errors:
 * none besides. Python: del pool, or the end of `with Pool() as pool:`. */
MP_API int mp_pool_free(mp_pool *pool);

/* The number of workers the pool was made with. Never blocks. Errors: none besides. Python: pool._processes. */
MP_API int mp_pool_size(mp_pool *pool, int *workers);
/* mp_pool_workers() stores up to `capacity` pids of the live workers, and the number of all live workers in *count;
 * `pids` may be NULL when capacity is 0. mp_pool_supervisor() stores the pid of the supervisor. After
 * unshare(CLONE_NEWPID) the workers' pids are those that the supervisor sees, in the new namespace. Never block.
 * Errors: none besides. Python: [p.pid for p in pool._pool]. */
MP_API int mp_pool_workers(mp_pool *pool, pid_t *pids, size_t capacity, size_t *count);
MP_API int mp_pool_supervisor(mp_pool *pool, pid_t *pid);

/* Waits for the task and copies its result to `buffer`. `size` must be at least the size of the result (for a map: of
 * all results); it may be larger. With MP_FOREVER, the results of a map may be stored as they arrive; with any other
 * timeout nothing is stored before the end. If items of a map have failed, the results of the others are stored all the
 * same. It may be called several times, and by several threads. Blocks: for `timeout` seconds at most. Returns 0, the
 * task's failure code (above 0, or one of the library's that it returned), MP_EDIED - ..., MP_EINITIALIZER,
 * MP_ETERMINATED, MP_EBROKEN, MP_EVALUE, or: MP_ETIMEOUT (a later call may succeed), MP_ETOOSMALL (mp_result_size()
 * gives the size). Python: result.get(timeout). */
MP_API int mp_result_get(mp_result *result, void *buffer, size_t size, double timeout);
/* Waits for the end of the task or map. Blocks: for `timeout` seconds at most. Errors: MP_ETIMEOUT. Python:
 * result.wait(timeout). */
MP_API int mp_result_wait(mp_result *result, double timeout);
/* Stores whether the task or map has ended. Never blocks. Errors: none besides. Python: result.ready(). */
MP_API int mp_result_ready(mp_result *result, bool *ready);
/* Stores whether it ended without failure. Errors: MP_ENOTREADY. Never blocks. Python: result.successful(). */
MP_API int mp_result_successful(mp_result *result, bool *successful);
/* Stores the result's length in bytes. Errors: MP_ENOTREADY. Never blocks. Python: len(result.get()). */
MP_API int mp_result_size(mp_result *result, size_t *size);
/* Stores the status of item `index` of a map (a task has one item, 0). Errors: MP_ENOTREADY, MP_EINDEX. Never blocks.
 * Python: none. */
MP_API int mp_result_status(mp_result *result, size_t index, int *status);
/* Releases the handle. NULL is accepted. A task that has not ended continues, and its outcome is discarded. Blocks:
 * until other threads have left their calls on it, which fail with MP_EINVAL. Errors: none besides. Python: del
 * result. */
MP_API int mp_result_free(mp_result *result);

/* Called inside a task of mp_pool_apply() or mp_pool_apply_async(): sets a result whose size only the task knows,
 * instead of the bytes at `result`. The last successful call counts. The caller of the pool fetches it with
 * mp_result_size() and mp_result_get(). Never blocks. Errors: MP_EINVAL (not inside such a task), MP_EFOREIGN (in a
 * process that the task has forked), MP_ENOMEM, MP_ESYSTEM. Python: return. */
MP_API int mp_task_return(const void *data, size_t size);

#ifdef __cplusplus
}
#endif

/* The names that version 0.2 has replaced. They end with version 1.0; a program that defines MP_NO_OLD_NAMES does
 * without them today. All are macros with arguments, not functions: they have no address, and a type mp_int of another
 * library stays what it is wherever no parenthesis follows it. */
#ifndef MP_NO_OLD_NAMES
#define mp_none() mp_value_none()
#define mp_bool(...) mp_value_bool(__VA_ARGS__)
#define mp_int(...) mp_value_int(__VA_ARGS__)
#define mp_float(...) mp_value_float(__VA_ARGS__)
#define mp_str(...) mp_value_str(__VA_ARGS__)
#define mp_strn(...) mp_value_strn(__VA_ARGS__)
#define mp_bytes(...) mp_value_bytes(__VA_ARGS__)
#define mp_dict_value(...) mp_value_dict(__VA_ARGS__)
#define mp_list_value(...) mp_value_list(__VA_ARGS__)
#define mp_dict_has(...) mp_dict_contains_key(__VA_ARGS__)
#define mp_dict_delete(...) mp_dict_remove_key(__VA_ARGS__)
#define mp_pool_keeper(...) mp_pool_supervisor(__VA_ARGS__)
#endif

#endif
