# check_install.sh SOURCE COMPILER VERSION [FLAG...]: installs libmp into an empty folder, static and shared, and links
# a program with it in each way that the README names: CMake, pkg-config, the compiler alone. The FLAGs go to each
# compilation.
set -eu
source=$1 compiler=$2 version=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program=$source/tests/install/consumer.c

# Runs a command, whose output is shown only if it fails.
quietly() {
    "$@" >"$work/output" 2>&1 || { echo "$*"; cat "$work/output"; exit 1; }
}

# check SHARED: ON or OFF.
check() {
    prefix=$work/prefix-$1
    quietly cmake -S "$source" -B "$work/build-$1" -DCMAKE_C_COMPILER="$compiler" -DCMAKE_C_FLAGS="$flags" -DMP_SHARED="$1" \
        -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib
    quietly cmake --build "$work/build-$1" --target install
    export LD_LIBRARY_PATH="$prefix/lib" PKG_CONFIG_PATH="$prefix/lib/pkgconfig"

    quietly cmake -S "$source/tests/install" -B "$work/cmake-$1" -DCMAKE_C_COMPILER="$compiler" -DCMAKE_C_FLAGS="$flags" \
        -DCMAKE_PREFIX_PATH="$prefix" -DVERSION="$version"
    quietly cmake --build "$work/cmake-$1"
    "$work/cmake-$1/consumer"

    # shellcheck disable=SC2046,SC2086
    quietly "$compiler" $flags -DVERSION="\"$(pkg-config --modversion mp)\"" "$program" $(pkg-config --cflags --libs mp) \
        -o "$work/by-pkg-config"
    "$work/by-pkg-config"

    # shellcheck disable=SC2086
    quietly "$compiler" $flags -DVERSION="\"$version\"" -I"$prefix/include" "$program" -L"$prefix/lib" -lmp -pthread -lm \
        -o "$work/by-hand"
    "$work/by-hand"
}

flags=$*
check OFF
check ON
