#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Drives chat as its users do: chat.sh CASE CHAT
set -euo pipefail

case_name=$1
chat=$2
# shellcheck source=tests/api/server.sh
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"

# enter FD NAME: connects, and enters the room.
enter() {
    eval "exec $1<>/dev/tcp/${address%:*}/${address##*:}"
    expect "$1" '* your name?'
    echo "$2" >&"$1"
    expect "$1" "* $2 joined"
}

# expect FD LINE: the next line is that one.
expect() {
    local got
    IFS= read -r -t 30 got <&"$1" || die "nothing comes where '$2' should"
    [[ $got == "$2" ]] || die "'$got' comes instead of '$2'"
}

# expect_end FD: nothing more comes.
expect_end() {
    local got
    ! IFS= read -r -t 30 got <&"$1" || die "'$got' comes instead of the end"
}

# Three people, as the head comment says it; names are unique, and one line is too long.
talk() {
    local workers
    for workers in 1 2 8; do
        server_start "$chat" --workers $workers
        enter 3 ada
        enter 4 bob
        expect 3 '* bob joined'
        exec 5<>"/dev/tcp/${address%:*}/${address##*:}"
        expect 5 '* your name?'
        printf 'ada\n' >&5
        expect 5 '* not that name; another?'
        printf 'with blanks\r\n' >&5
        expect 5 '* not that name; another?'
        printf 'eve\r\nhello' >&5
        expect 5 '* eve joined'
        expect 3 '* eve joined'
        expect 4 '* eve joined'
        printf ' all\n' >&5
        expect 3 'eve: hello all'
        expect 4 'eve: hello all'
        printf '/nick bob\n/nick ann\n' >&3
        expect 3 '* not that name'
        for fd in 3 4 5; do
            expect $fd '* ada is now ann'
        done
        echo /who >&4
        expect 4 '* eve'
        expect 4 '* bob'
        expect 4 '* ann'
        enter 6 zoe
        for fd in 3 4 5; do
            expect $fd '* zoe joined'
        done
        printf 'no newline' >&6 # and the end of the input
        exec 6>&-
        for fd in 3 4 5; do
            expect $fd 'zoe: no newline'
            expect $fd '* zoe left'
        done
        echo /quit >&4
        expect_end 4
        exec 4>&-
        expect 3 '* bob left'
        expect 5 '* bob left'
        head -c 2000 /dev/zero | tr '\0' x >&5
        expect 3 '* eve left'
        exec 5>&-
        exec 3>&-
        server_stop
    done
}

# One who reads nothing is dropped while the others get every line.
slow() {
    server_start "$chat" --workers 2
    enter 3 reader
    enter 4 sleeper
    expect 3 '* sleeper joined'
    enter 5 writer
    expect 3 '* writer joined'
    local text i got
    text=$(printf 'x%.0s' {1..400})
    for ((i = 0; ; i++)); do # ends: the kernel's buffers are finite
        echo "$i $text" >&5
        IFS= read -r -t 30 got <&3 || die "the reader gets nothing"
        if [[ $got == '* sleeper left' ]]; then
            break
        fi
        [[ $got == "writer: $i $text" ]] || die "the reader gets '$got'"
        ((i < 200000)) || die "the sleeper is not dropped"
    done
    exec 4>&- 5>&- 3>&-
    server_stop
}

# More than a queue holds: /who costs nobody his place.
crowd() {
    server_start "$chat" --workers 2
    local i got fds=() count=0
    enter 3 asker
    for ((i = 0; i < 100; i++)); do
        exec {fd}<>"/dev/tcp/${address%:*}/${address##*:}"
        fds+=("$fd")
        expect "$fd" '* your name?'
        echo "guest$i" >&"$fd"
        expect 3 "* guest$i joined"
    done
    echo /who >&3
    while IFS= read -r -t 30 got <&3 && [[ $got != *' more' ]]; do
        [[ $got == '* '* ]] || die "'$got' is no name"
        count=$((count + 1))
    done
    [[ $got == "* and $((101 - count)) more" ]] || die "after $count names: '$got'"
    echo 'still here' >&3
    echo /nick other >&3
    expect 3 '* asker is now other'
    for fd in "${fds[@]}"; do
        exec {fd}>&-
    done
    exec 3>&-
    server_stop
}

# SIGINT while people are there: their connections end in order.
interrupt() {
    server_start "$chat" --workers 2
    enter 3 ada
    enter 4 bob
    expect 3 '* bob joined'
    kill -INT "$server_pid"
    server_wait
    exec 3>&- 4>&-
}

flags() {
    "$chat" --help >"$scratch/help" || die "--help fails"
    grep -q -- '--listen' "$scratch/help" || die "--help does not tell of --listen"
    local status=0
    "$chat" --nonsense 2>/dev/null || status=$?
    [[ $status -eq 2 ]] || die "--nonsense is $status"
    status=0
    "$chat" --listen nonsense 2>"$scratch/errors" || status=$?
    [[ $status -eq 2 ]] || die "--listen nonsense is $status"
    grep -q 'nonsense is no address' "$scratch/errors" || die "no word of the address"
}

case $case_name in
    talk | slow | crowd | interrupt | flags) "$case_name" ;;
    *) die "unknown case: $case_name" ;;
esac
