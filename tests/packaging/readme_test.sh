#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# readme_test.sh LIBRARY PYTHON: the first C block of README.md is a whole program. It compiles as strict
# C11 without a warning, runs with the built shared library, sends back what two clients at once send
# it, and ends with 143 on SIGTERM while a third client is connected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

library=$1
python=$2
work=$(mktemp -d)
server=0
cleanup() {
    if ((server)); then
        kill -KILL "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT

awk '/^```c$/ { inside = 1; next } inside && /^```/ { exit } inside' README.md >"$work/echo.c"
lines=$(grep -c . "$work/echo.c" || true)
if ((lines < 15 || lines > 30)); then
    echo "the first C block of README.md has $lines lines of code; it should be some 20"
    exit 1
fi
cc -std=c11 -Wall -Wextra -Werror -Iruntime/include -Iio/include -o "$work/echo" "$work/echo.c" \
    "$library" "-Wl,-rpath,$(dirname "$library")"

# An address of this process alone: all of 127.0.0.0/8 is the loopback.
address=127.$((1 + ($$ >> 16 & 0x7f))).$(($$ >> 8 & 0xff)).$(($$ & 0xff))
"$work/echo" "$address:25000" &
server=$!

"$python" - "$address" "$server" <<'SOURCE'
import os
import signal
import socket
import sys
import time

address, server = sys.argv[1], int(sys.argv[2])
REPLY_SECONDS = 20


def connect():
    """The server prints nothing: it is up when it accepts. It ends the loop by ending, too."""
    while True:
        os.kill(server, 0)
        with open(f"/proc/{server}/stat", encoding="utf-8") as stat:
            if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                sys.exit("the server has ended")
        try:
            return socket.create_connection((address, 25000), timeout=REPLY_SECONDS)
        except ConnectionRefusedError:
            time.sleep(0.01)


def exchange(client, sent):
    client.sendall(sent)
    got = b""
    while len(got) < len(sent):
        piece = client.recv(65536)
        if not piece:
            sys.exit(f"the connection ended after {len(got)} of {len(sent)} bytes")
        got += piece
    if got != sent:
        sys.exit("the echo is not what was sent")


first, second = connect(), connect()
# More than one buffer of the server, less than a socket's: nobody waits for the other to read.
text = bytes(range(256)) * 80
for _ in range(3):
    exchange(first, text)
    exchange(second, text[::-1])
first.shutdown(socket.SHUT_WR)
if first.recv(1) != b"":
    sys.exit("bytes that nobody sent")
os.kill(server, signal.SIGTERM)
if second.recv(1) != b"":
    sys.exit("bytes that nobody sent")
SOURCE

status=0
wait "$server" || status=$?
server=0
if ((status != 143)); then
    echo "the server ended with $status, not with 143, on SIGTERM"
    exit 1
fi
echo "README.md's program ran"
