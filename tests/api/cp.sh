#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Drives cp as its users do: cp.sh CASE CP
set -euo pipefail

case_name=$1
program=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

die() {
    printf '%s\n' "$*" >&2
    [[ -s err ]] && cat err >&2
    exit 1
}

# random BYTES FILE
random() {
    head -c "$1" /dev/urandom >"$2"
}

# Files of many lengths, onto new ones and old ones, into directories, with one worker and two.
files() {
    local bytes workers
    for workers in 1 2; do
        for bytes in 0 1 4096 100001 20000000; do
            random "$bytes" from
            chmod 640 from
            rm -f to
            "$program" --workers $workers from to 2>err || die "fails for $bytes bytes"
            cmp from to || die "$bytes bytes: not the same"
            [[ $(stat -c %a to) == 640 ]] || die "the mode becomes $(stat -c %a to)"
        done
    done
    grep -q 'bytes' err || die "no progress is shown"
    random 5 from
    "$program" -q from to 2>err || die "does not replace"
    cmp from to || die "is not cut off"
    # But for what the runtime logs: that io_uring is refused, that the machine is busy.
    ! grep -qvE '^bonxie: (uring is refused|.* stalled for )' err || die "--quiet says something"
    mkdir into
    "$program" -q from into || die "does not copy into a directory"
    cmp from into/from
}

# The same with O_DIRECT, where the file system has it.
direct() {
    dd if=/dev/zero of=probe bs=4096 count=1 oflag=direct 2>err ||
        { echo "skipped: no direct I/O in $scratch"; exit 77; }
    local bytes reads
    for reads in 1 8 64; do
        for bytes in 0 1 511 4096 1048576 1048577 9999999; do
            random "$bytes" from
            "$program" -q --direct --reads $reads from to 2>err || die "fails for $bytes bytes"
            cmp from to || die "$bytes bytes: not the same"
        done
    done
}

# A tree: names with spaces, empty directories, links to nothing and into a loop.
tree() {
    mkdir -p 'tree/a b/c' tree/empty
    local i
    for i in 1 2 3 4 5 6 7 8 9; do
        random $((i * 1000)) "tree/a b/c/$i"
    done
    ln -s nowhere tree/lost
    ln -s .. tree/empty/up
    mkfifo tree/fifo
    "$program" -q -r tree copy 2>err || die "-r fails"
    grep -q fifo err || die "the fifo is left out silently"
    rm tree/fifo
    diff -r --no-dereference tree copy || die "not the same"
    [[ $(readlink copy/lost) == nowhere ]] || die "the link is another"
    "$program" -q -r tree copy 2>err || die "-r into a directory fails" # as copy/tree
    diff -r --no-dereference tree copy/tree || die "not the same, within"
    "$program" -q -r tree tree/itself || die "-r into itself fails"
    [[ ! -e tree/itself/itself ]] || die "copies its own copy"
    cmp "tree/a b/c/9" "tree/itself/a b/c/9"
}

# refused STATUS ARGUMENT...
refused() {
    local expected=$1 status=0
    shift
    "$program" "$@" >out 2>err || status=$?
    [[ $status -eq $expected && -s err ]] || die "$* exits with $status"
}

# What it says no to, and that it leaves alone what it has not made.
errors() {
    random 1000 from
    refused 1 missing to
    [[ ! -e to ]] || die "makes a copy of nothing"
    refused 1 from missing/to
    ln from same
    refused 1 from same
    [[ $(stat -c %s from) == 1000 ]] || die "a copy onto itself destroys it"
    mkdir directory
    refused 1 directory to
    refused 2 from
    refused 2 --reads 0 from to
    refused 2 --reads 65 from to
    refused 2 --workers x from to
    refused 2 --unknown from to
    mkdir -p tree copy/tree/file
    echo text >tree/file
    refused 1 -r tree copy
    grep -q '^copy/tree/file: ' err || die "does not name what cannot be written"
    mkfifo fifo
    random 1000000 long
    head -c 1 fifo >head &
    refused 1 long fifo # nobody reads the rest
    wait
    [[ -p fifo ]] || die "removes what it has not made"
    [[ $("$program" --help) == *--direct* ]] || die "--help does not name --direct"
}

# SIGINT ends it soon, says so by its status, and leaves no half of a copy.
interrupt() {
    truncate -s 40G from # of nothing: takes long to write out
    rm -f to
    "$program" from to >out 2>err &
    local pid=$! status=0
    while [[ ! -e to ]]; do
        kill -0 $pid || die "ends by itself"
        sleep 0.01
    done
    kill -INT $pid
    wait $pid || status=$?
    [[ $status -eq 130 ]] || die "exits with $status after SIGINT"
    [[ ! -e to ]] || die "leaves half a copy"
}

case $case_name in
    files | direct | tree | errors | interrupt) "$case_name" ;;
    *) die "unknown case: $case_name" ;;
esac
