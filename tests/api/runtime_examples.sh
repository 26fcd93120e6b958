#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs an example of runtime/ with 1, 2 and all workers, and compares what it prints, times aside.
# Also its help, and that a wrong flag is refused: runtime_examples.sh NAME PROGRAM
set -euo pipefail

name=$1
program=$2

case $name in
    hello)
        expected=$'hello from task 1: its square is 1\nhello from task 2: its square is 4\nhello from task 3: its square is 9'
        ;;
    skynet)
        expected=$'tasks: sum 499999500000, T s, T ns per task\nforks: sum 499999500000, T s, T ns per task'
        ;;
    one_two_three)
        expected=$'1\n2\n3\nstart'
        ;;
    compute_sum)
        expected=$'Compute 1 + 2 ...\n1 + 2 = 3\n1 main spawns print_sum\n2 print_sum calls compute
3 compute begins, and waits\n4 main runs meanwhile\n5 compute goes on\n6 print_sum has the result
7 main has joined print_sum'
        ;;
    future_data)
        expected=$'data\nset again: it was set already'
        ;;
    slow_operations)
        expected=$'gather: 3 1 2; all in T s\nwait: 1 was first; all in T s
as completed: 1 2 3; all in T s\ncallbacks: 1 2 3; all in T s'
        ;;
    callbacks_and_stop)
        expected=$'Waiting 1\nDone\nrun 1: returned 1\nWaiting 1\nDone\nrun 2: returned 1
Waiting 2\nWaiting 3\nDone\nDone\nall done: 5, stop\nstopped'
        ;;
    *)
        echo "unknown example: $name" >&2
        exit 2
        ;;
esac

# die MESSAGE ACTUAL
die() {
    printf '%s: %s, but:\n%s\n' "$name" "$1" "$2" >&2
    exit 1
}

for workers in 1 2 0; do
    printed=$("$program" --workers $workers | sed -E 's/[0-9]+\.[0-9]+ (s|ns)/T \1/g')
    [[ $printed == "$expected" ]] || die "--workers $workers prints $expected" "$printed"
done

help=$("$program" --help)
[[ $help == *--workers* ]] || die "--help names --workers" "$help"

for arguments in "--workers x" "--workers -1" "--workers" "--unknown" "surplus"; do
    status=0
    # shellcheck disable=SC2086 # two words
    message=$("$program" $arguments 2>&1) || status=$?
    [[ $status -eq 2 && -n $message ]] || die "$arguments exits with 2 and says why" "$status: $message"
done
