#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# packaging.library_size: size_test.sh LIBRARY BYTES_MAX. The shared library, stripped, is no
# larger; cmake/BonxieSize.cmake says how. A page of code more or less is 4096 bytes of the file.
set -euo pipefail
library=$1 bytes_max=$2
command -v strip >/dev/null || {
    echo "skipped: no strip"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strip -o "$work/stripped" "$library"
bytes=$(stat -c %s "$work/stripped")
echo "$bytes bytes of $bytes_max"
((bytes <= bytes_max)) || {
    size -A "$work/stripped"
    exit 1
}
