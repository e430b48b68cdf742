/* word_count [FOLDER]: counts the words of all files below a folder. A pool maps over the files; the totals are in a
 * shared dict. A word is a sequence of letters from A to Z, and is counted in lower case. */
#include <mp.h>
#include <ctype.h>
#include <ftw.h>
#include <string.h>

#include "check.h"

#define LONGEST_PATH 4096
#define LONGEST_WORD 100

static mp_dict *totals; /* made before the pool, so that its workers can use it */

static struct {
    const char *folder;
    char (*path)[LONGEST_PATH];
    size_t count, room;
} files;

/* ---- in the workers ---- */

/* Counts the words of one file in a dict of its own, so that the shared dict is updated only once for each different
 * word of a file. */
static int count_file(const char *path, mp_dict *counts)
{
    char word[LONGEST_WORD + 1];
    size_t length = 0;
    int character;
    FILE *file = fopen(path, "r");

    if (file == NULL)
        return 1;
    do {
        character = fgetc(file);
        if (character < 128 && isalpha(character) && length < LONGEST_WORD) {
            word[length++] = (char)tolower(character);
        } else if (length > 0) {
            word[length] = 0;
            CHECK(mp_dict_add_int(counts, word, 1, NULL));
            length = 0;
        }
    } while (character != EOF);
    fclose(file);
    return 0;
}

static int add_file(const void *arg, void *result)
{
    mp_manager *manager;
    mp_dict *counts;
    mp_dict_iter *iter;
    mp_value word, count;

    (void)result;
    CHECK(mp_manager_create(&manager, NULL));
    CHECK(mp_manager_root(manager, &counts));
    int error = count_file(arg, counts);
    CHECK(mp_dict_iter_create(&iter, counts));
    while (mp_dict_next(iter, &word, &count) == 0)
        CHECK(mp_dict_add(totals, word, count.as.integer, NULL));
    CHECK(mp_dict_iter_free(iter));
    CHECK(mp_manager_free(manager));
    return error;
}

/* ---- in the main program ---- */

/* Whether the file belongs to the project's history or to its build. */
static bool is_skipped(const char *path)
{
    const char *below = path + strlen(files.folder);

    return strncmp(below, "/.git/", 6) == 0 || strncmp(below, "/build/", 7) == 0;
}

static int note_file(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)where;
    if (type != FTW_F || strlen(path) >= LONGEST_PATH || is_skipped(path))
        return 0;
    if (files.count == files.room) {
        files.room = files.room * 2 + 64;
        files.path = realloc(files.path, files.room * sizeof *files.path);
        if (files.path == NULL)
            return 1;
    }
    strcpy(files.path[files.count++], path);
    return 0;
}

struct line {
    char word[LONGEST_WORD + 1];
    int64_t count;
};

static int by_count(const void *a, const void *b)
{
    const struct line *x = a, *y = b;

    return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : strcmp(x->word, y->word);
}

static void print_totals(void)
{
    mp_dict_iter *iter;
    mp_value word, count;
    size_t length, i = 0;

    CHECK(mp_dict_length(totals, &length));
    struct line *lines = calloc(length + 1, sizeof *lines);
    if (lines == NULL)
        exit(1);
    CHECK(mp_dict_iter_create(&iter, totals));
    for (; i < length && mp_dict_next(iter, &word, &count) == 0; i++) {
        snprintf(lines[i].word, sizeof lines[i].word, "%s", word.as.str);
        lines[i].count = count.as.integer;
    }
    CHECK(mp_dict_iter_free(iter));
    qsort(lines, i, sizeof *lines, by_count);
    for (size_t j = 0; j < i; j++)
        printf("%lld %s\n", (long long)lines[j].count, lines[j].word);
    free(lines);
}

int main(int argc, char **argv)
{
    mp_manager *manager;
    mp_pool *pool;

    files.folder = argc > 1 ? argv[1] : SOURCE_FOLDER;
    if (nftw(files.folder, note_file, 16, FTW_PHYS) != 0) {
        fprintf(stderr, "word_count: cannot read the folder\n");
        return 1;
    }
    CHECK(mp_manager_create(&manager, NULL));
    CHECK(mp_manager_dict(manager, &totals));
    CHECK(mp_pool_create(&pool, 0, NULL));
    CHECK(mp_pool_map_with(pool, add_file, files.path, sizeof *files.path, NULL, 0, files.count,
                           &(mp_map_options){.chunk_size = 1}));
    print_totals();
    CHECK(mp_pool_close(pool));
    CHECK(mp_pool_join(pool));
    CHECK(mp_pool_free(pool));
    CHECK(mp_manager_free(manager));
    free(files.path);
    return 0;
}
