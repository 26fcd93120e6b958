# SPDX-License-Identifier: MIT
# Sourced by the acceptance scripts: starts a server on a free port, stops it, says what went wrong.
# shellcheck shell=bash

scratch=$(mktemp -d)
server_pid=
trap 'cleanup' EXIT

cleanup() {
    [[ -n $server_pid ]] && kill -KILL "$server_pid" 2>/dev/null
    rm -rf "$scratch"
}

die() {
    printf '%s\n' "$*" >&2
    [[ -s $scratch/stderr ]] && sed 's/^/server: /' "$scratch/stderr" >&2
    exit 1
}

skip() {
    echo "skipped: $*"
    exit 77
}

need() {
    command -v "$1" >/dev/null || skip "$1 is not installed"
}

# scaled COUNT MINIMUM: COUNT times BONXIE_SCALE.
scaled() {
    awk -v count="$1" -v least="$2" -v scale="${BONXIE_SCALE:-1}" \
        'BEGIN { n = int(count * scale); print (n < least ? least : n) }'
}

# server_start PROGRAM [FLAG...]: sets address (ADDRESS:PORT) and server_pid.
server_start() {
    : >"$scratch/stdout" # the last server's line is not this one's
    "$@" --listen 127.0.0.1:0 >"$scratch/stdout" 2>"$scratch/stderr" &
    server_pid=$!
    while ! grep -q '^listening on ' "$scratch/stdout"; do
        kill -0 "$server_pid" 2>/dev/null || die "the server did not start"
        sleep 0.01
    done
    address=$(sed -n 's/^listening on //p' "$scratch/stdout")
}

# server_wait: the server ends by itself and says 0.
server_wait() {
    local status=0
    wait "$server_pid" || status=$?
    server_pid=
    [[ $status -eq 0 ]] || die "the server exits with $status"
    [[ $(wc -l <"$scratch/stdout") -eq 1 ]] || die "the server prints more than one line"
}

# server_stop: SIGTERM, a clean end.
server_stop() {
    kill -TERM "$server_pid"
    server_wait
}
