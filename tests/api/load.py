# SPDX-License-Identifier: MIT
"""The load generator against servers that misbehave in a known way, and the servers that bonxie is
compared with under the load generator: load.py CASE BONXIE_LOAD [HTTPD SERVER]"""

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time

from program import require, run

MESSAGE_BYTES = 64
# The pause, and what of it counts as having seen it. Whoever is due in the first half of the pause
# sees more than half of it, however busy the machine is: that is no matter of time.
PAUSE_S = 0.5
SEEN_US = PAUSE_S / 2 * 1e6
RATE = 2000
DUE_IN_HALF = int(RATE * PAUSE_S / 2)


class Server(threading.Thread):
    """Serves one connection: answers each message of 64 bytes, but first pauses at the one numbered
    pause_at, closes at the one numbered close_at, and answers the one numbered spoil wrongly."""

    def __init__(self, listener, pause_at=-1, pause_s=PAUSE_S, spoil=-1, close_at=-1):
        super().__init__(daemon=True)
        self.listener, self.pause_at, self.pause_s = listener, pause_at, pause_s
        self.spoil, self.close_at = spoil, close_at
        self.start()

    def run(self):
        connection, _ = self.listener.accept()
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            number = 0
            pending = b""
            while received := connection.recv(65536):
                pending += received
                while len(pending) >= MESSAGE_BYTES:
                    message, pending = pending[:MESSAGE_BYTES], pending[MESSAGE_BYTES:]
                    if number == self.pause_at:
                        time.sleep(self.pause_s)
                    if number == self.close_at:
                        return
                    connection.sendall(bytes(MESSAGE_BYTES) if number == self.spoil else message)
                    number += 1


def tcp_server(**faults):
    listener = socket.create_server(("127.0.0.1", 0))
    Server(listener, **faults)
    return f"127.0.0.1:{listener.getsockname()[1]}"


def load(program, *flags, code=0):
    """Runs an echo over one connection, if flags do not say otherwise; returns the report."""
    status, out, message = run(program, "--mode", "echo", "--connections", "1", "--histogram", *flags)
    require(status == code, f"bonxie-load {flags} exits with {code}", (status, out, message))
    return json.loads(out)


def seen(report):
    """How many requests have seen the pause."""
    return sum(count for top_us, count in report["histogram_us"] if top_us >= SEEN_US)


def pause(program):
    """One pause: the open loop has it in all its percentiles, for all who were due meanwhile; the
    closed loop, which asks nothing meanwhile, has it once."""
    count = 2 * RATE
    for arrivals in ("even", "poisson"):
        address = tcp_server(pause_at=RATE // 2)
        report = load(program, "--rate", str(RATE), "--arrivals", arrivals, "--requests", str(count),
                      address)
        require(report["requests"] == count, "every arrival is answered", report["requests"])
        # Random arrivals in half the pause: 500 expected, and under 350 is 6.7 standard deviations.
        least = DUE_IN_HALF - 1 if arrivals == "even" else int(DUE_IN_HALF * 0.7)
        require(seen(report) >= least, f"{least} {arrivals} arrivals see the pause", seen(report))
        require(report["latency_us"]["p99_9"] >= SEEN_US, "the open loop's p99.9 has the pause", report)
    # The control. 20 requests of 20,000 are the p99.9: so many the machine would have to hold up
    # for a quarter of a second each before this fails without a reason.
    address = tcp_server(pause_at=RATE // 2)
    report = load(program, "--requests", "20000", address)
    require(1 <= seen(report) < 20, "the closed loop has the pause, but not in its p99.9", seen(report))
    require(report["latency_us"]["p99_9"] < SEEN_US, "the closed loop's p99.9 has no pause", report)


def overload(program):
    """What is due and unanswered at the end is counted, with its age: the server pauses at the
    first message after the one that every connection begins with, for as long as it is waited for."""
    address = tcp_server(pause_at=1, pause_s=60)
    report = load(program, "--rate", "1000", "--duration", "0.5", address, code=1)
    require(report["requests"] == 0 and report["errors"]["total"] == 0, "nothing is answered", report)
    require(report["unanswered"] == 500, "all that was due is counted", report["unanswered"])
    require(sum(count for _, count in report["histogram_us"]) == 500, "and is in the histogram", report)
    # The last one was due 2 ms before the end or earlier, and is waited for a second more.
    require(report["latency_us"]["p50"] >= 1e6, "with its age", report["latency_us"])


def checks(program):
    """Wrong bytes, and an end before the last answer, are errors in both loops."""
    for flags in ((), ("--rate", "20000")):
        address = tcp_server(spoil=300)
        report = load(program, "--requests", "1000", *flags, address, code=1)
        require(report["errors"]["content"] == 1, "wrong bytes are found", report["errors"])
        address = tcp_server(close_at=300)
        report = load(program, "--requests", "1000", *flags, address, code=1)
        errors = report["errors"]
        require(errors["closed"] + errors["receive"] + errors["send"] == 1, "an end is found", errors)
        require(report["requests"] == 299, "299 answers came after the first", report["requests"])


def unix(program):
    """Over a unix socket, with a pipeline; the CPU of this process, the server's, is reported."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        Server(listener)
        report = load(program, "--requests", "5000", "--pipeline", "16", "--server-pid",
                      str(os.getpid()), f"unix:{path}")
    require(report["requests"] == 5000, "every request is answered", report)
    require(report["received_bytes"] == 5000 * MESSAGE_BYTES, "all bytes came", report)
    require(report["server_cpu_us_per_request"] > 0, "the server's CPU is reported", report)
    require(report["generator_cpu_us_per_request"] > 0, "and the generator's", report)


class Program:
    """A server program while it runs."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)

    def __enter__(self):
        line = self.process.stdout.readline().strip()
        if not line:
            _, message = self.process.communicate()
            if message.startswith("io_uring: "):
                print(f"skipped: {message.strip()}")
                sys.exit(77)
            sys.exit(message)
        require(line.startswith("listening on "), "the server says where it listens", line)
        return line.removeprefix("listening on ")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()


def answer_bytes(address):
    """How long the answer to GET /plaintext is."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while not answer.endswith(b"Hello, World!"):
            received = connection.recv(65536)
            require(received, "an answer comes", answer)
            answer += received
    return len(answer)


def half_close(address):
    """Who has sent its last byte still gets all of its echo."""
    host, port = address.split(":")
    sent = bytes(range(256)) * 40
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        got = b"".join(iter(lambda: connection.recv(65536), b""))
    require(got == sent, f"{len(sent)} bytes come back", len(got))


def deaf(address):
    """Peers that send and do not read, until the server takes no more; they are closed by the caller."""
    host, port = address.split(":")
    connections = []
    for _ in range(4):
        connection = socket.create_connection((host, int(port)))
        connection.setblocking(False)
        connections.append(connection)
        while select.select([], [connection], [], 0.05)[1]:
            connection.send(bytes(65536))
    return connections


def server(program, httpd, name):
    """A server, one worker and two: every byte of the echo, beside peers that do not read, too; an
    answer to HTTP as long as httpd's; pipelines; a unix socket."""
    with Program(httpd, "--listen", "127.0.0.1:0") as address:
        wanted_bytes = answer_bytes(address)
    for workers in ("1", "2"):
        with Program(name, "echo", "--listen", "127.0.0.1:0", "--workers", workers) as address:
            half_close(address)
            held = deaf(address)
            for flags in (("300", "1", "64"), ("50", "16", "64"), ("8", "4", "100000")):
                load(program, "--connections", flags[0], "--pipeline", flags[1], "--bytes", flags[2],
                     "--requests", "2000", address)
            for connection in held:
                connection.close()
            load(program, "--requests", "100", address)
        with Program(name, "http", "--listen", "127.0.0.1:0", "--workers", workers) as address:
            require(answer_bytes(address) == wanted_bytes, f"{wanted_bytes} bytes", address)
            for connections, pipeline in (("300", "1"), ("50", "256")):
                load(program, "--mode", "http", "--connections", connections, "--pipeline", pipeline,
                     "--requests", "5000", "--bytes", "13", f"{address}/plaintext")
    with tempfile.TemporaryDirectory() as folder:
        with Program(name, "http", "--listen", f"unix:{folder}/socket") as address:
            load(program, "--mode", "http", "--requests", "1000", f"{address}:/plaintext")


def main():
    case, program, *rest = sys.argv[1:]
    cases = {"pause": pause, "overload": overload, "checks": checks, "unix": unix, "server": server}
    cases[case](program, *rest)


main()
