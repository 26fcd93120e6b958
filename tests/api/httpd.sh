#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Drives httpd as its users do: httpd.sh CASE HTTPD [CLIENT]
set -euo pipefail

case_name=$1
httpd=$2
client=${3:-}
# shellcheck source=tests/api/server.sh
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"

url() {
    echo "http://$address/plaintext"
}

pipeline() {
    server_start "$httpd"
    "$client" "$address" || die "pipeline_client fails"
    server_stop
}

# The server gives up a peer that is quiet for a quarter of the drain; where counts are scaled down
# the machine is slow, and the client's bound for the end is 10 times as long.
drain() {
    local drain_seconds=2
    [[ ${BONXIE_SCALE:-1} == 1 ]] || drain_seconds=20
    for workers in 1 2 0; do
        server_start "$httpd" --workers $workers --drain $drain_seconds
        "$client" "$address" "$server_pid" || die "drain_client fails with --workers $workers"
        server_wait
    done
}

run_curl() {
    need curl
    mkdir "$scratch/root"
    printf 'a file\n' >"$scratch/root/file.txt"
    server_start "$httpd" --root "$scratch/root"
    local got
    got=$(curl -sS "$(url)")
    [[ $got == 'Hello, World!' ]] || die "/plaintext is '$got'"
    got=$(curl -sSI "$(url)" | tr -d '\r')
    [[ $got == 'HTTP/1.1 200 '* && $got == *'Content-Length: 13'* ]] || die "curl -I: $got"
    got=$(head -c 300000 /dev/zero | curl -sS -o /dev/null -w '%{http_code}' -T - "$(url)")
    [[ $got == 200 ]] || die "curl -T - (chunked): $got"
    got=$(curl -sS "http://$address/file.txt")
    [[ $got == 'a file' ]] || die "the file is '$got'"
    for path in none ../file.txt; do
        got=$(curl -sS --path-as-is -o /dev/null -w '%{http_code}' "http://$address/$path")
        [[ $got == 40[04] ]] || die "/$path: $got"
    done
    server_stop
}

# wrk_for SECONDS CONNECTIONS: sets report. Fails when the machine was too busy for one request.
wrk_for() {
    report=$(wrk -t1 -c"$2" -d"$1s" --timeout 60s "$(url)") || die "wrk fails: $report"
    [[ $report != *'Socket errors'* && $report != *'Non-2xx'* ]] || die "wrk: $report"
    [[ $report =~ ([1-9][0-9]*)\ requests\ in ]]
}

run_wrk() {
    need wrk
    server_start "$httpd"
    local connections report seconds
    for connections in 64 512; do
        seconds=$(scaled 2 1)
        until wrk_for "$seconds" $connections; do
            ((seconds < 32)) || die "wrk: no request: $report"
            seconds=$((seconds * 2))
        done
        echo "wrk -c$connections: ${BASH_REMATCH[1]} requests"
    done
    server_stop
}

run_ab() {
    need ab
    server_start "$httpd"
    local requests report
    requests=$(scaled 50000 500)
    report=$(ab -q -k -c100 -n"$requests" "$(url)" 2>&1) || die "ab fails: $report"
    [[ $report =~ Complete\ requests:\ +$requests$'\n' && $report =~ Failed\ requests:\ +0$'\n' &&
        $report =~ Keep-Alive\ requests:\ +$requests$'\n' && $report != *'Non-2xx'* ]] ||
        die "ab: $report"
    server_stop
}

run_h2load() {
    need h2load
    server_start "$httpd"
    local requests report
    requests=$(scaled 50000 500)
    report=$(h2load --h1 -n"$requests" -c100 "$(url)" 2>&1) || die "h2load fails: $report"
    [[ $report == *"$requests succeeded, 0 failed, 0 errored, 0 timeout"* &&
        $report == *"status codes: $requests 2xx, 0 3xx, 0 4xx, 0 5xx"* ]] || die "h2load: $report"
    server_stop
}

# Waits for a condition that the server brings about, without a limit of its own: ctest has one.
await() {
    until "$@"; do
        kill -0 "$server_pid" 2>/dev/null || die "the server ends: $*"
        sleep 0.05
    done
}

# How many connections the server has.
connections() {
    find "/proc/$server_pid/fd" -lname 'socket:*' 2>/dev/null | wc -l
}

has_connections() { (($(connections) >= $1)) || ! kill -0 "$slow_pid" 2>/dev/null; }
has_no_more_than() { (($(connections) <= $1)); }

slow_pid=
end_slow() {
    if [[ -n $slow_pid ]]; then
        kill -KILL "$slow_pid" 2>/dev/null || true
        wait "$slow_pid" 2>/dev/null || true
    fi
    slow_pid=
}

# slow_attempt PATIENCE FLAG...: 200 slow connections, requests beside them. Fails when a slow one
# was gone before the last request was answered: then the machine takes longer than the patience.
slow_attempt() {
    local patience=$1 before answered requests is_full=0
    shift
    requests=$(scaled 1000 100)
    server_start "$httpd" --root "$scratch/root" --patience "$patience"
    before=$(connections)
    (cd "$scratch" && exec slowhttptest -c 200 -r 1000 -l 200 "$@" -u "http://$address/$slow_path" \
        >"$scratch/slow" 2>&1) &
    slow_pid=$!
    await has_connections $((before + 200))
    answered=$(curl -sS -Z --parallel-max 10 "$(url)?[1-$requests]" 2>/dev/null |
        grep -o 'Hello, World!' | wc -l)
    (($(connections) < before + 200)) || is_full=1
    [[ $answered -eq $requests ]] ||
        die "beside slow connections $answered of $requests are answered"
    await has_no_more_than "$before" # the slow ones have not given up: they have minutes
    end_slow
    server_stop
    ((is_full == 1))
}

# slow_peers PATH FLAG...
slow_peers() {
    local slow_path=$1 patience
    shift
    for patience in 2 4 8 16 32; do
        if slow_attempt $patience "$@"; then
            return
        fi
    done
    die "200 connections are too many for this machine"
}

# Peers that dawdle with their head, with their body, with what they are to read: the others are
# served meanwhile, and the server ends the slow ones.
run_slow() {
    need slowhttptest
    need curl
    trap 'end_slow; cleanup' EXIT
    mkdir "$scratch/root"
    head -c 1048576 /dev/zero >"$scratch/root/file"
    slow_peers file -H -i 1 -x 24
    slow_peers upload -B -i 1 -s 8192 -x 10
    slow_peers file -X -w 10 -y 20 -n 1 -z 32 -k 3

    local line
    server_start "$httpd" --patience 1
    exec 3<>"/dev/tcp/${address%:*}/${address##*:}"
    printf 'GET / HTTP/1.1\r\n' >&3
    IFS= read -r line <&3 || die 'half a head: no answer'
    [[ $line == 'HTTP/1.1 408 '* ]] || die "half a head: $line"
    exec 3<&-
    server_stop
}

# Prints the process that answers.
answering_pid() {
    curl -sS "http://$address/stats" | sed -n 's/^pid //p'
}

is_other_pid() { [[ $(answering_pid) != "$1" ]]; }
is_on_stderr() { grep -q "$1" "$scratch/stderr"; }
refuses() { ! curl -sS "$(url)" >/dev/null 2>&1; }

# The server is replaced again and again while clients come: nobody is refused or reset. One that
# cannot be replaced stays.
run_restart() {
    need wrk
    need curl
    local first pid wrk_pid i
    cp "$httpd" "$scratch/httpd"
    server_start "$scratch/httpd" --drain 20 # 5 s for a client that the machine keeps waiting
    first=$server_pid
    wrk -t1 -c32 -d600s "$(url)" >"$scratch/wrk" &
    wrk_pid=$!
    for ((i = 0; i < $(scaled 20 3); i++)); do
        pid=$(answering_pid)
        kill -USR2 "$pid"
        until is_other_pid "$pid"; do sleep 0.02; done
    done
    kill -INT $wrk_pid
    wait $wrk_pid || die "wrk fails"
    [[ $(<"$scratch/wrk") != *'Socket errors'* && $(<"$scratch/wrk") != *'Non-2xx'* ]] ||
        die "wrk: $(<"$scratch/wrk")"
    [[ $(<"$scratch/wrk") =~ ([1-9][0-9]*)\ requests\ in ]] || die 'wrk: no request'
    echo "$i restarts under ${BASH_REMATCH[1]} requests"
    wait "$first" || die "the first server exits with $?"
    server_pid=$(answering_pid)

    printf '#!/bin/sh\nexit 3\n' >"$scratch/bad"
    chmod +x "$scratch/bad"
    mv "$scratch/bad" "$scratch/httpd"
    kill -USR2 "$server_pid"
    await is_on_stderr 'the new server has ended'
    [[ $(curl -sS "$(url)") == 'Hello, World!' ]] || die 'after a failed restart: no answer'
    [[ $(answering_pid) == "$server_pid" ]] || die 'after a failed restart: another server'
    kill -TERM "$server_pid"
    until refuses; do sleep 0.02; done
    server_pid=
}

# Every flag is in the help, and a wrong one is refused.
flags() {
    local help status
    help=$("$httpd" --help)
    for arguments in listen workers root connections patience idle replace; do
        [[ $help == *--$arguments\ * ]] || die "--help has no --$arguments: $help"
    done
    for arguments in "--workers x" "--listen" "--listen 300.0.0.1:80" "--unknown" "--root /none"; do
        status=0
        # shellcheck disable=SC2086 # two words
        timeout 20 "$httpd" $arguments >"$scratch/stdout" 2>"$scratch/stderr" || status=$?
        [[ $status -ne 0 && $status -ne 124 && -s $scratch/stderr ]] || die "$arguments: $status"
        [[ ! -s $scratch/stdout ]] || die "$arguments prints $(cat "$scratch/stdout")"
    done
}

case $case_name in
    pipeline | drain | flags) "$case_name" ;;
    curl | wrk | ab | h2load | slow | restart) "run_$case_name" ;;
    *) die "unknown case: $case_name" ;;
esac
