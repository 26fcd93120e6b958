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

# head_of BYTES: a request whose head is so long, with the empty line at its end.
head_of() {
    printf 'GET / HTTP/1.1\r\nX: %*s\r\n\r\n' $(($1 - 23)) x
}

# The longest head, and one that is a byte too long, or as much as the delimiter.
limits() {
    start --http 1
    local bytes
    for bytes in 8192 8193 8196; do
        head_of $bytes >"$scratch/head"
        [[ $(wc -c <"$scratch/head") -eq $bytes ]] || die "the head has $(wc -c <"$scratch/head")"
        timeout 20 openssl s_client -ign_eof -CAfile "$scratch/cert.pem" \
            -connect "localhost:${address##*:}" <"$scratch/head" >"$scratch/received" 2>&1 &
        local client=$!
        if ((bytes == 8192)); then
            until grep -q "^Content-Length: 8192" "$scratch/received"; do
                kill -0 $client || die "no answer to $bytes bytes"
                sleep 0.05
            done
            kill $client
            wait $client || true
        else
            wait $client || true
            ! grep -q "200 OK" "$scratch/received" || die "an answer to $bytes bytes"
        fi
    done
    server_stop
}

# At the end each connection is told so: no alert, no mere end of the socket.
farewell() {
    start
    mkfifo "$scratch/pipe"
    openssl s_client -msg -quiet -CAfile "$scratch/cert.pem" -connect "localhost:${address##*:}" \
        <"$scratch/pipe" >"$scratch/received" 2>"$scratch/openssl" &
    local client=$!
    exec 3>"$scratch/pipe"
    echo hello >&3
    until grep -q '^hello' "$scratch/received"; do
        kill -0 $client || die "no echo: $(tail -n 5 "$scratch/openssl")"
        sleep 0.05
    done
    server_stop
    wait $client || true
    exec 3>&-
    cat "$scratch/received" "$scratch/openssl" >"$scratch/all"
    grep -q '^<<<.*Alert.*warning close_notify' "$scratch/all" ||
        die "no close_notify: $(grep -a '<<<' "$scratch/all" | tail -n 3)"
}

case $case_name in
    limits | farewell) "$case_name" ;;
    curl) curl_case ;;
    s_client) s_client ;;
    *) die "unknown case: $case_name" ;;
esac
