/* The files under heaps, and room for them: in the file system and among the addresses. */
#ifndef MEMORY_FILE_H
#define MEMORY_FILE_H

#include <stdbool.h>
#include <stdint.h>

/* A memory file that vanishes with its last user. Like all files below, its descriptor is close-on-exec, and 3 or more.
 * The descriptor, or negative; MP_ESYSTEM (with errno): the system has no such files. */
int memory_file(void);
/* Where named memory files live: a directory path. */
const char *memory_directory(void);
/* Gives the unnamed file `fd` the name `path`. MP_EEXIST: that is taken. */
int memory_file_link(int fd, const char *path);
/* An unnamed file in memory_directory() that memory_file_link() can name. The descriptor, or negative. */
int memory_file_unnamed(void);
/* A new file in memory_directory() under a name of its own, libmp-<user>.<anything>, which is stored in `path`. The
 * descriptor, or negative. */
#define MEMORY_PATH 80
int memory_file_temporary(char path[MEMORY_PATH]);
/* Gives a file another name. MP_EEXIST: that is taken. */
int memory_file_rename(const char *from, const char *to);
/* How many bytes of addresses RLIMIT_AS leaves this process; UINT64_MAX: there is no such limit. */
uint64_t addresses_left(void);
/* What the errno of a mapping that failed means: MP_ENOMEM, or MP_ESYSTEM where the system refuses it. */
int mapping_error(int number);
/* Whether the process runs under valgrind, whose leak check reads every mapped page, those past the end of a file
 * included. */
bool on_valgrind(void);
/* Makes bytes [from, to) of the file exist, reserved for good, so that touching them can never fail. On failure the
 * file is as long as before: MP_ENOMEM, also if RLIMIT_FSIZE is too low (never SIGXFSZ), or MP_ESYSTEM. */
int memory_file_reserve(int fd, uint64_t from, uint64_t to);
/* Makes the file that long, without reserving anything, if RLIMIT_FSIZE allows it. */
void memory_file_lengthen(int fd, uint64_t length);
/* Has the system enter these reserved pages of a mapped file into the process's page table at once. To touch them one
 * by one costs several times as much. Only makes it faster. */
void memory_file_populate(void *address, uint64_t length);
/* Whether only the system's memory limits the file: its file system has no size, and the system overcommits memory. */
bool memory_file_is_unlimited(int fd);
/* Gives the whole pages inside [from, to) back; they read as zeros afterwards. */
void memory_file_punch(int fd, uint64_t from, uint64_t to);

#endif
