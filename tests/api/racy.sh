#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# racy.sh PROGRAM: a build for ThreadSanitizer must find the race in tests/api/racy.c without a
# strand, at the counter it is about, and none with it.
set -u

program=$1
export TSAN_OPTIONS="halt_on_error=1:exitcode=66"

output=$("$program" strand 2>&1)
code=$?
if [[ $code != 0 || $output != 800 ]]; then
    echo "on a strand: exit $code, expected 0 and 800: $output"
    exit 1
fi
output=$("$program" free 2>&1)
code=$?
if [[ $code != 66 || $output != *"data race"*"in buy"* ]]; then
    echo "without a strand: exit $code, expected 66 and a data race in buy: $output"
    exit 1
fi
