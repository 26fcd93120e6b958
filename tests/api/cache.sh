#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Drives cache as its users do: cache.sh CASE CACHE [PYTHON]
set -euo pipefail

case_name=$1
cache=$2
python=${3:-}
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=tests/api/server.sh
source "$here/server.sh"

client() {
    "$python" "$here/cache_client.py" "$case_name" "$1" "$server_pid" || die "cache_client.py fails"
}

# Alone, with a neighbour, and with more workers than there are processors.
on_workers() {
    for workers in 1 2 8; do
        server_start "$cache" --workers $workers
        client "$address"
        server_stop
    done
}

limits() {
    server_start "$cache" --memory 4 --keys 100 --connections 3
    client "$address"
    server_stop
}

drain() {
    for workers in 1 2 8; do
        server_start "$cache" --workers $workers
        client "$address"
        server_wait
    done
}

# The same on a unix socket; the file of an earlier server is no obstacle, and none is left.
run_unix() {
    case_name=model
    "$python" -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$scratch/socket"
    for _ in first second; do
        server_start "$cache" --unix "$scratch/socket"
        until grep -q "^listening on unix:" "$scratch/stdout"; do
            kill -0 "$server_pid" || die "the server did not start"
            sleep 0.01
        done
        client "unix:$scratch/socket"
        kill -TERM "$server_pid"
        wait "$server_pid" || die "the server exits with $?"
        [[ ! -e $scratch/socket ]] || die "its socket is left"
        server_pid=
    done
}

run_redis_cli() {
    need redis-cli
    server_start "$cache"
    local host=${address%:*} port=${address##*:}
    ask() {
        redis-cli -h "$host" -p "$port" "$@" || die "redis-cli $* fails"
    }
    [[ $(ask SET greeting 'hello there') == OK ]] || die "SET"
    [[ $(ask GET greeting) == 'hello there' ]] || die "GET"
    [[ $(ask LPUSH list a b c) == 3 ]] || die "LPUSH"
    [[ $(ask LRANGE list 0 -1) == $'c\nb\na' ]] || die "LRANGE"
    [[ $(ask GET list) == WRONGTYPE* ]] || die "GET of a list"
    [[ $(ask INFO) == *used_memory:* ]] || die "INFO"
    [[ $(ask COMMAND COUNT) -ge 22 ]] || die "COMMAND COUNT"
    [[ $(for i in {1..50}; do echo "INCR n"; done | ask --pipe) == *"errors: 0, replies: 50"* ]] ||
        die "--pipe"
    [[ $(ask GET n) == 50 ]] || die "GET n"
    [[ $(printf 'SET "a b" c\nGET "a b"\n' | ask) == $'OK\nc' ]] || die "commands on stdin"
    server_stop
}

run_redis_benchmark() {
    need redis-benchmark
    server_start "$cache"
    local report tests=set,get,incr,lpush,lpop,sadd,mset,lrange_100,ping requests
    requests=$(scaled 30000 2000)
    for depth in 1 16; do
        report=$(redis-benchmark -h "${address%:*}" -p "${address##*:}" -t $tests -c 100 -P $depth \
            -n "$requests" --csv) || die "redis-benchmark fails: $report"
        [[ $report != *rror* ]] || die "redis-benchmark: $report"
        for name in SET GET INCR LPUSH LPOP SADD 'MSET (10 keys)' PING_INLINE PING_MBULK; do
            [[ $report == *"\"$name\",\""* ]] || die "no $name with -P $depth: $report"
        done
    done
    server_stop
}

# Every flag is in the help, and a wrong one is refused.
flags() {
    local help status
    help=$("$cache" --help)
    for flag in listen unix workers memory keys connections; do
        [[ $help == *--$flag* ]] || die "--help: no $flag"
    done
    # The most that a flag takes is as good as no limit.
    server_start "$cache" --connections 4294967295
    exec 3<>"/dev/tcp/${address%:*}/${address##*:}"
    printf 'PING\r\n' >&3
    IFS= read -r -t 30 status <&3 || die "no reply"
    [[ $status == +PONG* ]] || die "with --connections 4294967295: $status"
    exec 3>&-
    server_stop
    for arguments in "--workers x" "--memory" "--listen 300.0.0.1:80" "--unknown" "--unix /none/x"; do
        status=0
        # shellcheck disable=SC2086 # two words
        timeout 20 "$cache" --listen 127.0.0.1:0 $arguments >"$scratch/stdout" \
            2>"$scratch/stderr" || status=$?
        [[ $status -ne 0 && $status -ne 124 && -s $scratch/stderr ]] || die "$arguments: $status"
    done
}

case $case_name in
    model | abuse | pressure | expiry) on_workers ;;
    limits | drain | flags) "$case_name" ;;
    unix | redis_cli | redis_benchmark) "run_$case_name" ;;
    *) die "unknown case: $case_name" ;;
esac
