#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Drives udp_echo and echo_callback as their users do: small_echoes.sh CASE PROGRAM [CLIENT]
set -euo pipefail

case_name=$1
program=$2
client=${3:-}
# shellcheck source=tests/api/server.sh
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"

# Datagrams of many sizes come back, one by one and several at once; the server ends on SIGTERM.
datagrams() {
    server_start "$program"
    exec 3<>"/dev/udp/${address%:*}/${address##*:}"
    local bytes
    for bytes in 1 10 1000 1472 8000 65000; do
        head -c "$bytes" /dev/zero | tr '\0' x | dd bs=65536 iflag=fullblock status=none >&3
        dd bs=65536 count=1 status=none <&3 >"$scratch/got"
        [[ $(tr -d x <"$scratch/got" | wc -c) -eq 0 ]] || die "$bytes bytes come back changed"
        [[ $(wc -c <"$scratch/got") -eq $bytes ]] || die "$bytes bytes come back short"
    done
    for i in 1 2 3 4 5; do
        printf '%s\n' "datagram $i" >&3
    done
    local got
    for i in 1 2 3 4 5; do
        got=$(dd bs=65536 count=1 status=none <&3) # "read" would take a byte at a time
        [[ $got == "datagram $i" ]] || die "number $i is '$got'"
    done
    exec 3>&-
    server_stop
}

# A person with nc.
run_nc() {
    need nc
    server_start "$program"
    local got
    got=$(echo hello world | nc -N "${address%:*}" "${address##*:}") || die "nc fails"
    [[ $got == "hello world" ]] || die "nc gets '$got'"
    server_stop
}

# Checksums over 1, 64 and 1000 connections; killed clients leave nothing behind.
client() {
    ulimit -n "$(ulimit -Hn)"
    server_start "$program"
    "$client" "$address" "$server_pid" || die "echo_client fails"
    server_stop
}

# SIGINT is as good as SIGTERM, and a connection that waits is no reason to stay.
interrupt() {
    server_start "$program" --workers 2
    exec 3<>"/dev/tcp/${address%:*}/${address##*:}"
    echo ping >&3
    local got
    read -r got <&3
    [[ $got == ping ]] || die "it says '$got'"
    kill -INT "$server_pid"
    server_wait
    ! read -r got <&3 || die "it says '$got' after its end"
    exec 3>&-
}

# Wrong flags end with a message; an address in use as well.
flags() {
    local help status arguments
    help=$("$program" --help)
    [[ $help == *--listen* && $help == *--workers* ]] || die "--help: $help"
    server_start "$program"
    for arguments in "--workers x" "--listen" "--listen 300.0.0.1:80" "--unknown" \
        "--listen $address"; do
        status=0
        # shellcheck disable=SC2086 # two words
        timeout 20 "$program" $arguments >"$scratch/out" 2>"$scratch/stderr" || status=$?
        [[ $status -ne 0 && $status -ne 124 && -s $scratch/stderr ]] || die "$arguments: $status"
        [[ ! -s $scratch/out ]] || die "$arguments prints $(cat "$scratch/out")"
    done
    server_stop
}

case $case_name in
    datagrams | client | interrupt | flags) "$case_name" ;;
    nc) run_nc ;;
    *) die "unknown case: $case_name" ;;
esac
