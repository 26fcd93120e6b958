#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs a program again and again, stopped as by a signal at its 1st, 2nd, 3rd, ... place where a task
# may wait, until a run ends untouched (BONXIE_CANCEL_AT; from the 32nd place on in steps that grow).
# Each run must end in time, not by a signal, without a failed check or a sanitizer's report, and leave
# no task behind: everywhere.sh PROGRAM [ARGUMENT...]
set -uo pipefail

# What the sanitizers exit with, told apart from what the program returns.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:exitcode=99" UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:exitcode=99"
export TSAN_OPTIONS="${TSAN_OPTIONS:-}:exitcode=99" LSAN_OPTIONS="exitcode=99"

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT

place=1
while true; do # ends with the run that has fewer places
    status=0
    BONXIE_CANCEL_AT=$place timeout 60 "$@" </dev/null >/dev/null 2>"$errors" || status=$?
    if [[ $status -eq 99 || $status -ge 124 && $status -ne 130 && $status -ne 143 ]] ||
        grep -q -e 'check failed' -e 'ERROR: ' -e 'did not end in time' "$errors"; then
        printf '%s, stopped at place %s: exit %s\n' "$1" "$place" "$status" >&2
        cat "$errors" >&2
        exit 1
    fi
    grep -q 'stopped at place' "$errors" || break
    place=$((place + 1 + (place > 32 ? place / 4 : 0)))
done
if [[ $place -eq 1 ]]; then
    echo "$1: no place was counted" >&2
    exit 1
fi
echo "$1: the last place tried was $place"
