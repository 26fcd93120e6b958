#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Unpacks Concurrency Kit for aarch64 into build/aarch64-root, where cmake/aarch64.cmake looks for it:
# Debian's libck0 cannot be installed for two architectures at once. Does nothing when it is there.
set -eu
cd "$(dirname "$0")/.."
root=build/aarch64-root
if [ -e $root/usr/lib/aarch64-linux-gnu/libck.a ]; then
    exit 0
fi
mkdir -p $root
cd $root
apt-get -q -o Acquire::Retries=3 download libck-dev:arm64
for package in libck-dev_*_arm64.deb; do
    dpkg -x "$package" .
    rm "$package"
done
