#!/bin/sh
# Builds libmp and runs every test, also on a fresh machine. Arguments are passed to ctest. BUILD names another build
# folder, and CMAKE_FLAGS adds configuration flags.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/need.sh"
need gcc gcc
need '/usr/include/stdio.h' libc6-dev
need make make
need cmake cmake
need pkg-config pkg-config
need '/usr/include/cmocka.h' libcmocka-dev
need spin spin
install_missing

build=${BUILD:-$root/build/tests}
# shellcheck disable=SC2086
cmake -S "$root" -B "$build" -DMP_TESTS=ON -DMP_EXAMPLES=ON ${CMAKE_FLAGS:-} >/dev/null
cmake --build "$build" -j "$(nproc)"
# Tests that need all CPUs run alone: see RUN_SERIAL and PROCESSORS in the CMakeLists.
cd "$build" && ctest --output-on-failure -j "$(nproc)" "$@"
