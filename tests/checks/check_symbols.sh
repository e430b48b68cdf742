#!/bin/sh
# Usage: check_symbols.sh SOURCE LIBRARY WHITE COMPILER [FLAG...]. Fails if LIBRARY, or one that is built with -flto,
# has a global symbol whose name does not mark it as the library's. Then links each library with a program that defines
# all internal names that the library's files share (those in WHITE), and runs it: none of the program's functions may
# be taken for the library's.
set -eu
source=$1 library=$2 white=$3 compiler=$4
shift 4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The global symbols that a library defines. Names that begin with _ or DW. belong to the compiler.
globals() {
    nm -g --defined-only "$1" 2>/dev/null | awk 'NF == 3 && $3 !~ /^(_|DW\.)/ { print $3 }' | sort -u
}

globals "$white" | grep -v '^mp_' >"$work/inner"
count=$(wc -l <"$work/inner")
[ "$count" -gt 200 ] || { echo "only $count names were found in $white" >&2; exit 1; }
{
    sed 's/.*/char &[64] = "mine";/' "$work/inner"
    cat <<'END'
#include <mp.h>
#include <string.h>
static int twice(const void *arg, void *result)
{
    *(int *)result = 2 * *(const int *)arg;
    return 0;
}
int main(void)
{
    mp_manager *manager;
    mp_dict *dict;
    mp_list *list;
    mp_lock *lock;
    mp_pool *pool;
    int numbers[3] = {1, 2, 3}, doubled[3];
    int bad = mp_manager_create(&manager, NULL) || mp_manager_dict(manager, &dict) || mp_manager_list(manager, &list) ||
              mp_dict_set_int(dict, "a", 1) || mp_list_append_int(list, 1) || mp_list_sort(list, NULL, NULL, false) ||
              mp_lock_create(&lock, NULL) || mp_lock_acquire(lock, MP_FOREVER) || mp_lock_release(lock) ||
              mp_pool_create(&pool, 2, NULL) ||
              mp_pool_map(pool, twice, numbers, sizeof *numbers, doubled, sizeof *doubled, 3) || doubled[2] != 6 ||
              mp_manager_check(manager) || mp_pool_free(pool) || mp_lock_free(lock) || mp_manager_free(manager);
END
    sed 's/.*/    bad |= strcmp(&, "mine") != 0;/' "$work/inner"
    printf '    return bad;\n}\n'
} >"$work/program.c"

# check LIBRARY [FLAG...]
check() {
    built=$1
    shift
    [ "$(globals "$built" | grep -c '^mp_')" -gt 100 ] || { echo "no symbols in $built" >&2; exit 1; }
    if globals "$built" | grep -v '^mp_' >"$work/foreign"; then
        sed 's/^/global, and not named mp_...: /' "$work/foreign" >&2
        exit 1
    fi
    "$compiler" -w "$@" -I"$source/include" "$work/program.c" "$built" -pthread -lm -o "$work/program"
    "$work/program" || { echo "the program with $built fails: $?" >&2; exit 1; }
}

check "$library" "$@"
cmake -S "$source" -B "$work/lto" -DCMAKE_C_COMPILER="$compiler" -DCMAKE_C_FLAGS="-flto $*" >"$work/output"
cmake --build "$work/lto" --target mp -j 2 >"$work/output" 2>&1 || { cat "$work/output" >&2; exit 1; }
check "$work/lto/libmp.a" "$@"
# Not every compiler can link with -flto: clang needs a plugin.
if echo 'int main(void) { return 0; }' | "$compiler" -flto -x c - -o "$work/tiny" 2>"$work/output"; then
    check "$work/lto/libmp.a" -flto "$@"
fi
echo "$count names that the library's files have for each other are the program's own"
