#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs an example beside its twin in Python, and compares what they print byte for byte; where it has
# none, with what it must print. Also its help, and that a wrong argument is refused:
# twins.sh NAME PROGRAM PYTHON
set -euo pipefail

name=$1
program=$2
python=$3
here=$(dirname "$0")

# die MESSAGE ACTUAL
die() {
    printf '%s: %s, but:\n%s\n' "$name" "$1" "$2" >&2
    exit 1
}

# counts PATTERN COUNT: so many lines match
counts() {
    local found
    found=$(grep -c -- "$1" <<<"$printed") || true
    [[ $found -eq $2 ]] || die "$2 lines match '$1'" "$found: $printed"
}

printed=$("$program"; echo end) # the end keeps the last newlines
case $name in
    async_iteration)
        expected=$'h\ne\nl\nl\no\n0\n1\n2\n3\n4\n[0, 4, 16]'
        ;;
    hello_kinds)
        expected=$'true\ntrue\ntrue\ntrue'
        ;;
    *)
        expected=$("$python" "$here/twins/$name.py")
        ;;
esac
[[ $printed == "$expected"$'\nend' ]] || die "prints $expected" "$printed"

# What both could get wrong in the same way.
case $name in
    averager)
        counts '^count=3, average=15.5$' 1
        counts '^ 9 boys  averaging 40.42kg$' 1
        counts '^10 girls averaging 1.43m$' 1
        ;;
    round_robin)
        counts '^Running task 0 \.\.\.now yielded$' 24
        counts '^Running task 1 \.\.\.now yielded$' 29
        counts '^Running task 2 \.\.\.now yielded$' 39
        counts 'completed with result: 141422324$' 1
        counts '^task 3: not found$' 1
        counts '^Blast off!$' 2
        ;;
    prime_watch)
        counts '^Found: ' 11
        counts '^Found: 9349$' 1
        counts '^still searching$' 5
        ;;
esac

help=$("$program" --help)
[[ $help == *--help* ]] || die "--help names --help" "$help"
status=0
message=$("$program" --unknown 2>&1) || status=$?
[[ $status -eq 2 && -n $message ]] || die "--unknown exits with 2 and says why" "$status: $message"
