#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Drives proxy as its users do: proxy.sh CASE PROXY HTTPD
set -euo pipefail

case_name=$1
proxy=$2
httpd=$3
# shellcheck source=tests/api/server.sh
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"

behind_pid=
end_behind() {
    [[ -z $behind_pid ]] || kill -KILL "$behind_pid" 2>/dev/null || true
}
trap 'end_behind; cleanup' EXIT

# proxy_start [FLAG...]: httpd, and a proxy before it, at $address.
proxy_start() {
    if [[ -z $behind_pid ]]; then
        mkdir -p "$scratch/root"
        server_start "$httpd" --root "$scratch/root"
        behind_pid=$server_pid
        disown "$behind_pid"
        behind=$address
    fi
    server_start "$proxy" --to "$behind" "$@"
}

each_way() {
    local workers splice
    for workers in 1 3; do
        for splice in 0 1; do
            proxy_start --workers $workers --splice $splice
            "$@"
            server_stop
        done
    done
}

# Short and long replies, many connections one after the other and at a time.
pages() {
    local got
    got=$(curl -sS "http://$address/plaintext")
    [[ $got == 'Hello, World!' ]] || die "/plaintext is '$got'"
    got=$(curl -sS -Z --parallel-immediate "http://$address/plaintext?[1-50]" 2>/dev/null |
        grep -o 'Hello, World!' | wc -l)
    [[ $got -eq 50 ]] || die "$got of 50 requests at a time"
}

run_curl() {
    need curl
    each_way pages
}

megabytes=$(scaled 64 4)

# A big body down and up: the server's hash of what came is that of what was sent.
bodies() {
    local got expected
    curl -sS -o "$scratch/got" "http://$address/body"
    cmp "$scratch/got" "$scratch/root/body" || die 'what came down is not what is there'
    expected=$(curl -sS -T "$scratch/root/body" "http://$behind/upload")
    got=$(curl -sS -T "$scratch/root/body" "http://$address/upload")
    [[ $got == "$expected" && $got == *[0-9a-f]* ]] || die "up came '$got', not '$expected'"
}

run_body() {
    need curl
    mkdir "$scratch/root"
    head -c $((megabytes << 20)) /dev/urandom >"$scratch/root/body"
    each_way bodies
}

# A client that shuts its side down after the request gets the whole reply.
half_closed() {
    local got
    printf 'GET /body HTTP/1.1\r\nHost: x\r\n\r\n' |
        nc -N "${address%:*}" "${address##*:}" >"$scratch/got" || die 'nc fails'
    got=$(tail -c $((megabytes << 20)) "$scratch/got" | cmp - "$scratch/root/body") ||
        die "after a half-close: $got"
}

run_nc() {
    need nc
    mkdir "$scratch/root"
    head -c $((megabytes << 20)) /dev/urandom >"$scratch/root/body"
    each_way half_closed
}

# Over unix sockets; nobody behind; a limit of one connection at a time.
run_corners() {
    need curl
    local got
    proxy_start
    server_stop
    server_start "$proxy" --to "$behind"
    local first=$server_pid first_address=$address
    : >"$scratch/stdout2"
    "$proxy" --listen "unix:$scratch/socket" --to "$first_address" >"$scratch/stdout2" &
    local second=$!
    until grep -q '^listening on ' "$scratch/stdout2"; do
        kill -0 $second || die 'the proxy on a unix socket did not start'
        sleep 0.01
    done
    got=$(curl -sS --unix-socket "$scratch/socket" "http://x/plaintext")
    [[ $got == 'Hello, World!' ]] || die "through two proxies: '$got'"
    kill -TERM $second
    wait $second || die 'the proxy on a unix socket fails'
    server_pid=$first
    server_stop

    server_start "$proxy" --to "unix:$scratch/nobody"
    got=0
    curl -sS "http://$address/" 2>/dev/null || got=$?
    [[ $got -eq 52 || $got -eq 56 ]] || die "nobody behind: curl says $got"
    server_stop

    proxy_start --connections 1
    exec 3<>"/dev/tcp/${address%:*}/${address##*:}" # is the one
    printf 'GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n' >&3
    IFS= read -r -t 30 got <&3 || die 'the one gets nothing'
    [[ $got == 'HTTP/1.1 200 OK'* ]] || die "the one gets '$got'"
    curl -sS "http://$address/plaintext" >"$scratch/got" 3>&- & # waits for it to end
    local other=$!
    exec 3>&-
    wait $other || die 'the second connection fails'
    [[ $(cat "$scratch/got") == 'Hello, World!' ]] || die 'the second connection gets nothing'
    server_stop
}

# SIGTERM while a body is on its way: it arrives in full, then the proxy ends.
run_drain() {
    need curl
    mkdir "$scratch/root"
    head -c $((megabytes << 20)) /dev/urandom >"$scratch/root/body"
    proxy_start --drain 30
    curl -sS -o "$scratch/got" "http://$address/body" &
    local curl_pid=$!
    until [[ -s $scratch/got ]]; do
        kill -0 $curl_pid || break
        sleep 0.01
    done
    kill -TERM "$server_pid"
    wait $curl_pid || die 'the transfer fails'
    cmp "$scratch/got" "$scratch/root/body" || die 'the body is cut'
    server_wait
}

run_flags() {
    "$proxy" --help | grep -q -- '--splice' || die 'no help'
    local status=0
    "$proxy" --to nonsense 2>/dev/null || status=$?
    [[ $status -eq 2 ]] || die "--to nonsense: $status"
    status=0
    "$proxy" --listen 192.0.2.1:1 2>/dev/null || status=$?
    [[ $status -eq 1 ]] || die "an address that is not here: $status"
}

"run_$case_name"
