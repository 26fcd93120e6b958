#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# memcheck.sh HELLO PATHS: programs run to their end under valgrind, by one worker and by two, and
# memcheck has nothing to say of them; above all not that somebody switches stacks.
set -u

hello=$1
paths=$2
unset BONXIE_DRIVER

# check EXPECTED PROGRAM ARG...: its output, and no word of memcheck's.
check() {
    local expected=$1 report output code
    shift
    report=$(mktemp) || exit 1
    output=$(valgrind --error-exitcode=9 --log-file="$report" "$@" 2>&1)
    code=$?
    if [[ $code != 0 || $output != "$expected" ]] || grep -q 'switching stacks' "$report"; then
        echo "$*: exit $code, output: $output"
        cat "$report"
        rm -f "$report"
        exit 1
    fi
    rm -f "$report"
}

for workers in 1 2; do
    export BONXIE_WORKERS=$workers
    check $'true\ntrue\ntrue\ntrue' "$hello"
done
unset BONXIE_WORKERS
check "" "$paths"
