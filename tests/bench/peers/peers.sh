# Sourced by run.sh: what the peers need, and how each is built. A peer that cannot be had, built or run is said so and
# left out.

# Installs what is missing; if not all of it can be had together, then one by one.
install_peers() {
    need /usr/bin/python3 python3
    need g++ g++
    need pkg-config pkg-config
    need '/usr/include/absl/container/flat_hash_map.h' libabsl-dev
    need '/usr/include/boost/interprocess/managed_shared_memory.hpp' libboost-dev
    need '/usr/include/lmdb.h' liblmdb-dev
    need '/usr/include/tdb.h' libtdb-dev
    need '/usr/include/glib-2.0/glib.h' libglib2.0-dev
    need '/usr/include/oneapi/tbb/task_group.h' libtbb-dev
    need '/usr/include/hiredis/hiredis.h' libhiredis-dev
    need redis-server redis-server
    need '/usr/share/perl5/MCE/Map.pm' libmce-perl
    need mpicc libopenmpi-dev
    need mpirun openmpi-bin
    all=$missing
    (install_missing) && return
    for missing in $all; do
        (install_missing) || echo "$missing cannot be installed" >&2
    done
}

# compile NAME COMPILER FLAG...: peers/NAME.c or .cpp to a program of that name.
compile() {
    name=$1
    shift
    # shellcheck disable=SC2086
    "$@" -O2 -DNDEBUG -D_GNU_SOURCE -Wall -Wextra -I"$root/include" "$root/tests/bench/peers/$name".c* \
        -o "$build/peers/$name" "$build/tests/bench/libbench_works.a" "$build/libmp.a" $libraries -pthread -lm \
        >"$build/peers.log" 2>&1 && return
    rm -f "$build/peers/$name"
    left_out="$left_out $name"
    echo "$name cannot be built and is left out: $(grep -m 1 -E 'error|not found|undefined' "$build/peers.log" || true)" >&2
}

c() {
    libraries=$2
    # shellcheck disable=SC2086
    compile "$1" gcc -std=c11 ${3:-}
}

cxx() {
    libraries=$2
    # shellcheck disable=SC2086
    compile "$1" g++ -std=c++17 ${3:-}
}

# What pkg-config knows of a package, or nothing.
flags() {
    pkg-config "$@" 2>/dev/null || true
}

# A script that runs a program by another: mpirun, perl.
launcher() {
    printf '#!/bin/sh\nexec %s "$@"\n' "$2" >"$build/peers/$1"
    chmod +x "$build/peers/$1"
}

build_peers() {
    rm -rf "$build/peers"
    mkdir -p "$build/peers"
    cxx dict_absl "$(flags --libs absl_flat_hash_map absl_strings)" "$(flags --cflags absl_flat_hash_map absl_strings)"
    cxx dict_boost -lrt
    c dict_glib "$(flags --libs glib-2.0)" "$(flags --cflags glib-2.0)"
    c dict_lmdb -llmdb
    c dict_redis -lhiredis
    c dict_tdb -ltdb
    cxx lock_boost -lrt
    c lock_system -lrt
    c pool_glib "$(flags --libs glib-2.0)" "$(flags --cflags glib-2.0)"
    c pool_openmp '' -fopenmp
    c pool_pipe ''
    c pool_pthread ''
    cxx pool_tbb -ltbb
    libraries=
    compile pool_mpi mpicc -std=c11
    if [ -x "$build/peers/pool_mpi" ]; then
        mv "$build/peers/pool_mpi" "$build/pool_mpi"
        # What it writes beside memory goes where run.sh removes it.
        launcher pool_mpi "env OMPI_MCA_orte_tmpdir_base=\"\$BENCH_FOLDER\" OMPI_MCA_btl_vader_backing_directory=\"\$BENCH_FOLDER\" \
            mpirun --allow-run-as-root --oversubscribe -n 2 '$build/pool_mpi'"
    fi
    launcher pool_mce "perl '$root/tests/bench/peers/pool_mce.pl'"
}
