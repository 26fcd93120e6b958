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

drain() {
    for workers in 1 2 0; do
        server_start "$httpd" --workers $workers
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

run_wrk() {
    need wrk
    server_start "$httpd"
    local connections report
    for connections in 64 512; do
        report=$(wrk -t1 -c$connections -d"$(scaled 2 1)s" "$(url)") || die "wrk fails: $report"
        [[ $report != *'Socket errors'* && $report != *'Non-2xx'* ]] || die "wrk: $report"
        [[ $report =~ ([1-9][0-9]*)\ requests\ in ]] || die "wrk: no request: $report"
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

# Every flag is in the help, and a wrong one is refused.
flags() {
    local help status
    help=$("$httpd" --help)
    [[ $help == *--listen* && $help == *--workers* && $help == *--root* ]] || die "--help: $help"
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
    curl | wrk | ab | h2load) "run_$case_name" ;;
    *) die "unknown case: $case_name" ;;
esac
