#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# consumer.sh BUILD: installs the build into a folder of its own and builds a small program against it in
# the three ways a stranger would: find_package with the shared library and with the archive, and
# pkg-config. Each must run, and the shared one must have loaded libbonxie.so.0 from the folder.
set -euo pipefail

build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >"$work/log"
libdir=$(dirname "$(find "$work/prefix" -name libbonxie.so.0)")

mkdir "$work/consumer"
cat >"$work/consumer/main.c" <<'SOURCE'
#include <bonxie/bonxie.h>

static int answer(void *arg) {
    (void)arg;
    return 42;
}

int main(void) {
    return bnx_run(NULL, answer, NULL) == 42 ? 0 : 1;
}
SOURCE
cat >"$work/consumer/CMakeLists.txt" <<'SOURCE'
cmake_minimum_required(VERSION 3.22)
project(consumer LANGUAGES C)
find_package(bonxie 0.1 REQUIRED)
add_executable(shared main.c)
target_link_libraries(shared PRIVATE bonxie::bonxie)
add_executable(archive main.c)
target_link_libraries(archive PRIVATE bonxie::static)
SOURCE

cmake -S "$work/consumer" -B "$work/consumer/build" -DCMAKE_PREFIX_PATH="$work/prefix" >>"$work/log"
cmake --build "$work/consumer/build" >>"$work/log"
"$work/consumer/build/shared"
"$work/consumer/build/archive"
# Not through a pipe: grep -q ends it early, and with pipefail that is a failure now and then.
[[ $(ldd "$work/consumer/build/shared") == *"libbonxie.so.0 => $libdir/"* ]]
if [[ $(ldd "$work/consumer/build/archive") == *libbonxie* ]]; then
    echo "the archive's consumer loads the shared library"
    exit 1
fi

# The prefix stands in the file as it was configured; a folder of its own needs it said again.
export PKG_CONFIG_PATH=$libdir/pkgconfig
read -r -a flags < <(pkg-config --define-variable=prefix="$work/prefix" --cflags --libs bonxie)
cc -o "$work/by_pkg_config" "$work/consumer/main.c" "${flags[@]}"
LD_LIBRARY_PATH=$libdir "$work/by_pkg_config"
echo "shared, archive and pkg-config consumers ran"
