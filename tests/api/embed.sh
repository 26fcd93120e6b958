#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs embed, or its twin in C++, and compares what it prints; its help, and that wrong flags are
# refused: embed.sh PROGRAM
set -euo pipefail

program=$1

# die MESSAGE ACTUAL
die() {
    printf '%s: %s, but:\n%s\n' "$(basename "$program")" "$1" "$2" >&2
    exit 1
}

expected=$'thread 0: 10 jobs, their squares add up to 285
thread 1: 10 jobs, their squares add up to 2185
thread 2: 10 jobs, their squares add up to 6085
host: 30 reports and 30 jobs, all in one loop'
printed=$("$program")
[[ $printed == "$expected" ]] || die "it prints $expected" "$printed"

# More threads than CPUs: each thread n adds up the squares of 10 n + 0 to 10 n + 199.
printed=$("$program" --threads 12 --jobs 200)
for ((n = 0; n < 12; n++)); do
    sum=0
    for ((i = 0; i < 200; i++)); do
        ((sum += (10 * n + i) * (10 * n + i))) || true
    done
    [[ $printed == *"thread $n: 200 jobs, their squares add up to $sum"* ]] ||
        die "the squares of thread $n add up to $sum" "$printed"
done
[[ $printed == *"host: 2400 reports and 2400 jobs"* ]] || die "the host counts 2400" "$printed"

help=$("$program" --help)
[[ $help == *--threads* && $help == *--jobs* ]] || die "--help names --threads and --jobs" "$help"

for arguments in "--threads 0" "--jobs x" "--threads 101" "--unknown" "surplus"; do
    status=0
    # shellcheck disable=SC2086 # two words
    message=$("$program" $arguments 2>&1) || status=$?
    [[ $status -eq 2 && -n $message ]] || die "$arguments exits with 2 and says why" "$status: $message"
done
