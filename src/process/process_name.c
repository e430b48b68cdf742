#include "process/process_name.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/this_process.h"

#define NAME_LENGTH 200
#define DIGITS 10 /* of the largest number */

struct mp_process process_self = {.magic = PROCESS_MAGIC, .name = "MainProcess", .identity = ""};
struct mp_process process_creator = {.magic = PROCESS_MAGIC};
bool process_has_creator;

static _Atomic unsigned children_started;

char *process_name_number(char *to, unsigned number)
{
    char digits[DIGITS];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + number % 10);
    } while ((number /= 10) != 0);
    while (count > 0)
        *to++ = digits[--count];
    return to;
}

int process_name_check(const char *name)
{
    size_t length = name != NULL ? strnlen(name, NAME_LENGTH + 1) : 1;

    return length == 0 || length > NAME_LENGTH ? MP_ENAME : 0;
}

unsigned process_name_take(void)
{
    return atomic_fetch_add(&children_started, 1) + 1;
}

void process_name_return(unsigned number)
{
    unsigned next = number;

    atomic_compare_exchange_strong(&children_started, &next, number - 1);
}

int process_name_set(struct mp_process *process, const char *name, unsigned number)
{
    const char *prefix = name != NULL ? name : "Process-";
    size_t prefix_size = strlen(prefix) + (name != NULL); /* a name given ends before the identity begins */
    size_t own = strlen(process_self.identity);
    size_t size = prefix_size + own + 1 + DIGITS + 1;
    char *to = size <= PROCESS_ROOM ? process->room : (process->memory = malloc(size));

    if (to == NULL)
        return MP_ENOMEM;
    process->name = to;
    process->identity = to + prefix_size;
    memcpy(to, prefix, prefix_size);
    to += prefix_size;
    memcpy(to, process_self.identity, own);
    to += own;
    if (own > 0)
        *to++ = ':';
    *process_name_number(to, number) = '\0';
    return 0;
}

void process_name_enter(const char *name, const char *identity, bool daemon)
{
    process_creator.name = process_self.name;
    process_creator.identity = process_self.identity;
    process_creator.daemon = process_self.daemon;
    process_has_creator = true;
    process_self.name = name;
    process_self.identity = identity;
    process_self.daemon = daemon;
    atomic_store(&children_started, 0);
    process_title(name);
}

void process_name_after_fork(void)
{
    process_has_creator = false;
    process_creator.pid = process_self.pid;
    process_self.pid = getpid(); /* cheaper than lifecycle_pid() in every child */
}
