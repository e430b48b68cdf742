#!/bin/sh
# Usage: lint.sh [--quick]. Runs clang-tidy (.clang-tidy says which checks) and cppcheck on src/ and include/; fails
# when one of them finds something. --quick: clang-tidy only on files of src/ that differ from the last commit.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"

# cppcheck does not see that a structure is filled word by word through a pointer to its first, or by a function.
cat >"$work/suppressed" <<'EOF'
uninitvar:src/list/list.c
uninitvar:src/list/list_kind.c
uninitvar:src/list/list_place.c
uninitvar:src/list/list_snapshot.c
uninitvar:src/dict/dict_atomic.c
objectIndex:src/list/list_kind.c
objectIndex:src/list/list_place.c
EOF
bad=0
cppcheck -j "$(nproc)" --std=c11 --enable=warning,performance,portability --quiet --error-exitcode=1 \
    --suppressions-list="$work/suppressed" -Iinclude -Isrc -D_GNU_SOURCE -D__GLIBC__ -D__x86_64__ src include || bad=1

if [ "${1:-}" = --quick ]; then
    git diff --name-only --diff-filter=d HEAD -- 'src/*.c' >"$work/files"
else
    find src -name '*.c' | sort >"$work/files"
fi
cmake -S . -B "$work/build" -DCMAKE_C_COMPILER=clang -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >/dev/null
xargs -r -P "$(nproc)" -n 4 clang-tidy -p "$work/build" --quiet <"$work/files" 2>"$work/noise" || bad=1
exit $bad
