#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Drives tls_echo as its users do: tls_echo.sh CASE TLS_ECHO
set -euo pipefail

case_name=$1
program=$2
# shellcheck source=tests/api/server.sh
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"

make_certificate() {
    need openssl
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost \
        -keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2>"$scratch/openssl" ||
        die "$(cat "$scratch/openssl")"
}

start() {
    make_certificate
    server_start "$program" --certificate "$scratch/cert.pem" --key "$scratch/key.pem" "$@"
}

# A browser's idea of it, and one that trusts nobody we know.
curl_case() {
    need curl
    start --http 1
    local port=${address##*:} body
    body=$(curl -sS --cacert "$scratch/cert.pem" "https://localhost:$port/some/path") ||
        die "curl fails"
    [[ $body == "GET /some/path HTTP/1.1"* ]] || die "curl gets '$body'"
    ! curl -sS "https://localhost:$port/" 2>/dev/null || die "curl believes anybody"
    server_stop
}

# 64 KiB there and back through openssl's own client, which verifies us, and which does not read
# while it writes: no more than the sockets hold.
s_client() {
    start
    head -c 65536 /dev/urandom | base64 -w 70 >"$scratch/sent"
    mkfifo "$scratch/pipe"
    openssl s_client -quiet -verify_return_error -CAfile "$scratch/cert.pem" \
        -connect "localhost:${address##*:}" <"$scratch/pipe" 2>"$scratch/openssl" \
        >"$scratch/received" &
    local client=$!
    exec 3>"$scratch/pipe" # kept open: at the end of its input it would leave
    cat "$scratch/sent" >&3
    until cmp -s "$scratch/sent" "$scratch/received"; do
        kill -0 "$client" 2>/dev/null || die "$(tail -n 5 "$scratch/openssl")"
        sleep 0.05
    done
    exec 3>&-
    kill "$client" # it ignores the end of its input
    wait "$client" || true
    server_stop
}

case $case_name in
    curl) curl_case ;;
    s_client) s_client ;;
    *) die "unknown case: $case_name" ;;
esac
