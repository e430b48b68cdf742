#!/bin/sh
# Usage: coverage.sh [--all] [--files]. Builds with gcc --coverage, runs the tests labelled quick (--all: all but the
# killer and the models), and prints which part of the lines and branches of src/ was run: for each folder, with --files
# for each file. BUILD names another build folder. A header counts as in the one file that runs most of it.
#
# Not counted: what a process has done that a signal ended, or that ended otherwise than by exit() and _exit().
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$root/build/coverage}
label='-L quick' files=0
for option; do
    case $option in
    --all) label= ;;
    --files) files=1 ;;
    *) echo "Usage: coverage.sh [--all] [--files]" >&2; exit 2 ;;
    esac
done
mkdir -p "$build"
# _exit() writes the counts first.
gcc -O1 -x c -c - -o "$build/coverage_exit.o" <<'EOF'
void __gcov_dump(void);
_Noreturn void __real__exit(int code);
_Noreturn void __wrap__exit(int code)
{
    __gcov_dump();
    __real__exit(code);
}
EOF
cmake -S "$root" -B "$build" -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Debug -DMP_TESTS=ON -DMP_EXAMPLES=ON \
    -DCMAKE_C_FLAGS='--coverage -fprofile-update=atomic' \
    -DCMAKE_EXE_LINKER_FLAGS="--coverage -Wl,--wrap=_exit $build/coverage_exit.o" >/dev/null
cmake --build "$build" -j "$(nproc)" >"$build/log" 2>&1 || { tail -20 "$build/log" >&2; exit 1; }
find "$build" -name '*.gcda' -delete
# Left out: what runs none of the library or links it without its counters; the killer, which would step through the
# counters; a test that limits the size of files, which the counts have as well.
# shellcheck disable=SC2086
(cd "$build" && ctest -j "$(nproc)" $label -E '^(check_|install|model|crash|fault_limits)' >tests.log 2>&1) ||
    sed -n '/tests failed/,$p' "$build/tests.log"

cd "$build/CMakeFiles/mp_objects.dir/src"
for object in */*.gcno; do
    gcov -b -n "$object" 2>/dev/null
done | awk -v root="$root/src/" -v files="$files" '
    function share(part, whole) {
        return whole ? sprintf("%5.1f %% of %5d", 100 * part / whole, whole) : "      - of     0"
    }
    function count(text) { sub(/.*:/, "", text); split(text, part, "% of "); return part[1] * part[2] / 100 }
    /^File / { name = substr($0, 7, length($0) - 7); ours = index(name, root) == 1; sub(root, "", name) }
    ours && /^Lines executed/ {
        run = count($0)
        best = !(name in lines) || run > lines_run[name]
        if (best) { lines[name] = part[2]; lines_run[name] = run; taken[name] = branches[name] = 0 }
    }
    ours && best && /^Taken at least once/ { taken[name] = count($0); branches[name] = part[2] }
    /^(Calls executed|No calls)/ { ours = 0 } # the last lines of a file; sums follow
    END {
        for (name in lines) {
            folder = name
            sub(/\/.*/, "/", folder)
            n = split(files ? name " " folder " all" : folder " all", key, " ")
            for (i = 1; i <= n; i++) {
                l[key[i]] += lines[name]; lr[key[i]] += lines_run[name]
                b[key[i]] += branches[name]; t[key[i]] += taken[name]
            }
        }
        for (name in l)
            printf "%-28s lines %s   branches %s\n", name, share(lr[name], l[name]), share(t[name], b[name])
    }' | sort
