#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Drives echo as its users do: echo.sh CASE ECHO [CLIENT]
set -euo pipefail

case_name=$1
echo_program=$2
client=${3:-}
# shellcheck source=tests/api/server.sh
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"

# Checksums over 1, 64 and 1000 connections; killed clients leave nothing behind.
client() {
    ulimit -n "$(ulimit -Hn)"
    server_start "$echo_program"
    "$client" "$address" "$server_pid" || die "echo_client fails"
    server_stop
}

# A person with nc.
run_nc() {
    need nc
    server_start "$echo_program"
    local got
    got=$(printf 'one\ntwo\n' | nc -N "${address%:*}" "${address##*:}") || die "nc fails"
    [[ $got == $'one\ntwo' ]] || die "nc gets '$got'"
    server_stop
}

# SIGINT is as good as SIGTERM, and a connection that waits is no reason to stay.
interrupt() {
    server_start "$echo_program" --workers 2
    exec 3<>"/dev/tcp/${address%:*}/${address##*:}"
    echo ping >&3
    local got
    read -r got <&3
    [[ $got == ping ]] || die "echo says '$got'"
    kill -INT "$server_pid"
    server_wait
    ! read -r got <&3 || die "echo says '$got' after its end"
    exec 3>&-
}

case $case_name in
    client | interrupt) "$case_name" ;;
    nc) run_nc ;;
    *) die "unknown case: $case_name" ;;
esac
