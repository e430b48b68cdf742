/* Reading through the undo log, over a library that delays between its steps (src/base/delay.h).
 *   - Writers replace all numbers of a list in one change. It is so large that the undo log needs its table.
 *   - The parent stops a writer and lets it go on, again and again.
 *   - Readers print the lists. Each printed list is the one before a change, or the one after it.
 *
 *     read_delays SECONDS */
#include <mp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WRITERS = 3, READERS = 3, LENGTH = 40, SOURCES = 4 };

#define MUST(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "read_delays: line %d: not true: %s\n", __LINE__, #condition); \
            _exit(1); \
        } \
    } while (0)

static mp_manager *manager;
static mp_list *list[WRITERS], *source[SOURCES];
static char text[SOURCES][LENGTH * 8];

/* A list of LENGTH equal numbers, and how it is printed. */
static void make_source(int number)
{
    MUST(mp_manager_list(manager, &source[number]) == 0);
    for (int i = 0; i < LENGTH; i++) {
        MUST(mp_list_append_int(source[number], 1000 + number) == 0);
        sprintf(text[number] + strlen(text[number]), "%s%d%s", i == 0 ? "[" : ", ", 1000 + number,
                i == LENGTH - 1 ? "]" : "");
    }
}

static _Noreturn void write_for_ever(int writer)
{
    for (int i = 0;; i++)
        MUST(mp_list_set_slice(list[writer], 0, LENGTH, 1, source[(writer + i) % SOURCES]) == 0);
}

static bool is_whole(const char *printed)
{
    for (int i = 0; i < SOURCES; i++) {
        if (strcmp(printed, text[i]) == 0)
            return true;
    }
    return false;
}

static _Noreturn void read_for_ever(int reader)
{
    for (int i = 0;; i++) {
        char *printed;

        MUST(mp_list_json(list[(reader + i) % WRITERS], &printed) == 0);
        if (!is_whole(printed))
            fprintf(stderr, "%s\n", printed);
        MUST(is_whole(printed));
        free(printed);
    }
}

static void pause_for(long microseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = microseconds * 1000}, NULL);
}

int main(int argc, char **argv)
{
    pid_t process[WRITERS + READERS];
    time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
    bool sound = true;

    setenv("MP_DELAY_ONE_IN", "40", 1);
    setenv("MP_DELAY_MAX_US", "300", 1);
    MUST(mp_manager_create(&manager, NULL) == 0);
    for (int i = 0; i < SOURCES; i++)
        make_source(i);
    for (int i = 0; i < WRITERS; i++)
        MUST(mp_list_copy(source[i], &list[i]) == 0);
    for (int i = 0; i < WRITERS + READERS; i++) {
        process[i] = fork();
        if (process[i] == 0 && i < WRITERS)
            write_for_ever(i);
        if (process[i] == 0)
            read_for_ever(i);
    }
    for (int i = 0; time(NULL) < end; i++) {
        kill(process[i % WRITERS], SIGSTOP);
        pause_for(20000);
        kill(process[i % WRITERS], SIGCONT);
        pause_for(rand() % 2000);
    }
    for (int i = 0; i < WRITERS + READERS; i++) {
        int status;

        kill(process[i], SIGKILL);
        MUST(waitpid(process[i], &status, 0) == process[i]);
        sound = sound && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }
    MUST(mp_manager_check(manager) == 0);
    MUST(mp_manager_free(manager) == 0);
    return sound ? 0 : 1;
}
