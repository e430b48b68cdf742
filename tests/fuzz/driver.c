/* Feeds the fuzzer of heaps with inputs made from seeds: driver [--seeds N] [--from SEED]; or with the contents of
 * files: driver FILE... If an input makes it crash or hang, its seed or the number of its file is printed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostile_heap.h"
#include "random.h"

enum { LONGEST = 1 + 8 * 8, SECONDS_EACH = 60 };

static unsigned long seed;

static void name_seed(int number)
{
    char text[80];
    int length = snprintf(text, sizeof text, "signal %d at seed %lu\n", number, seed);

    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(2);
    _exit(1);
}

static void run_file(const char *path)
{
    uint8_t input[4096];
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        perror(path);
        exit(2);
    }
    size_t size = fread(input, 1, sizeof input, file);
    fclose(file);
    alarm(SECONDS_EACH);
    LLVMFuzzerTestOneInput(input, size);
}

static void run(void)
{
    uint8_t input[LONGEST];
    uint64_t state = seed;
    /* Mostly one change or two: with more, the first damage found hides the others. */
    uint64_t changes = random_next(&state) % 8;
    size_t size = 1 + 8 * (changes < 4 ? 1 : changes < 7 ? 2 : 1 + random_next(&state) % 8);

    for (size_t i = 0; i < size; i++)
        input[i] = (uint8_t)random_next(&state);
    alarm(SECONDS_EACH);
    LLVMFuzzerTestOneInput(input, size);
}

int main(int count, char **argument)
{
    const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGALRM, SIGFPE, SIGILL};
    unsigned long first = 1, seeds = 20000;

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], name_seed);
    if (count > 1 && argument[1][0] != '-') {
        for (seed = 1; seed < (unsigned long)count; seed++)
            run_file(argument[seed]);
        return 0;
    }
    for (int i = 1; i + 1 < count; i += 2) {
        if (strcmp(argument[i], "--seeds") == 0)
            seeds = strtoul(argument[i + 1], NULL, 0);
        else if (strcmp(argument[i], "--from") == 0)
            first = strtoul(argument[i + 1], NULL, 0);
    }
    for (seed = first; seed < first + seeds; seed++)
        run();
    printf("%lu inputs: %lu refused, %lu found damaged, %lu sound and used\n", seeds, hostile_counts.refused,
           hostile_counts.damaged, hostile_counts.sound);
    return 0;
}
