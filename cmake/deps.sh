#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The one list of Debian packages. Installs what is missing, and touches nothing when nothing is.
#
#   cmake/deps.sh          what building and testing bonxie needs
#   cmake/deps.sh --all    also what any test or tool can use (the tests skip without it)
#   cmake/deps.sh --peers  also what bench/peers is made of: compilers of other languages, hundreds
#                          of megabytes. No test uses them and a run of the tests has no time for
#                          their installation, so --all is without them
#   cmake/deps.sh --vm     also what tests/vm needs to run the tests on another kernel
#   cmake/deps.sh --list   prints the names
#
# Works as root or through sudo, on a bare debootstrap tree as well; needs /bin/sh and dpkg alone.
set -eu

# libclang-rt-14-dev: clang's sanitizer runtimes. llvm: their symbolizer, without which a report names
# no function.
base="
    gcc g++ libc6-dev clang libclang-rt-14-dev llvm cmake ninja-build make pkg-config git
    liburing-dev libck-dev libbenchmark-dev libssl-dev zlib1g-dev libbz2-dev python3
"
more="
    clang-format gdb valgrind strace curl openssl netcat-openbsd wrk apache2-utils nghttp2-client
    slowhttptest
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user spin procps iproute2 redis-tools
    liburing-dev:arm64
"
vm="
    qemu-system-x86 e2fsprogs
"
peers="
    libboost-fiber-dev libtbb-dev libuv1-dev libasio-dev
    golang-go rustc cargo librust-tokio-dev librust-async-channel-dev librust-hyper-dev
    python3-uvloop
"
# apt and dpkg are waited for this long when another process holds their locks.
lock_seconds=600

usage() {
    echo "usage: $0 [--all] [--vm] [--peers] [--list]" >&2
    exit 2
}

wanted=$base
is_listing=no
for argument in "$@"; do
    case $argument in
        --all) wanted="$wanted $more" ;;
        --vm) wanted="$wanted $vm" ;;
        --peers) wanted="$wanted $peers" ;;
        --list) is_listing=yes ;;
        *) usage ;;
    esac
done
if [ $is_listing = yes ]; then
    for package in $wanted; do
        echo "$package"
    done
    exit 0
fi

# Prints those of its arguments that are not installed.
find_missing() {
    for package in "$@"; do
        case $package in
            *:*) asked=$package ;;
            *) asked=$package:$native ;; # a package may be there for another architecture as well
        esac
        status=$(dpkg-query -W -f='${db:Status-Status}' "$asked" 2>/dev/null) ||
            status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=absent
        if [ "$status" != installed ]; then
            echo "$package"
        fi
    done
}

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "$0: no dpkg here; install by hand:" $wanted >&2
    exit 1
fi
native=$(dpkg --print-architecture)
missing=$(find_missing $wanted)
if [ -z "$missing" ]; then
    exit 0
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "$0: neither root nor sudo; ask for:" $missing >&2
        exit 1
    fi
    as_root=sudo
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 \
        -o DPkg::Lock::Timeout=$lock_seconds "$@" </dev/null
}

# The timeout above is for dpkg's lock; the lock of the package lists has none, so it is tried again.
update() {
    waited=0
    while ! report=$(apt update 2>&1); do
        echo "$report" >&2
        case $report in
            *"Could not get lock"*) ;;
            *) return 1 ;;
        esac
        if [ $waited -ge $lock_seconds ]; then
            return 1
        fi
        sleep 5
        waited=$((waited + 5))
    done
}

case $missing in
    *:arm64*) $as_root dpkg --add-architecture arm64 ;;
esac
echo "installing:" $missing
# Without a reachable index the packages may still be in apt's cache.
update || echo "$0: apt-get update failed; trying with what apt knows" >&2
apt install --no-install-recommends $missing

missing=$(find_missing $missing)
if [ -n "$missing" ]; then
    echo "$0: still missing:" $missing >&2
    exit 1
fi
