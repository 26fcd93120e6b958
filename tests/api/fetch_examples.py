# SPDX-License-Identifier: MIT
"""Runs get_status, limited_fetch and crawler: fetch_examples.py CASE PROGRAM.

Against the site inside them, and against a server here that decides in which order it answers.
"""

import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading

from program import check_flags, require, run


class Server(socketserver.ThreadingTCPServer):
    """Each request waits in `waiting` until the test answers it."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.changed = threading.Condition()
        self.waiting = {}
        self.most = 0
        self.answer = answer
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def address(self):
        return f"127.0.0.1:{self.server_address[1]}"

    def await_requests(self, count):
        with self.changed:
            self.changed.wait_for(lambda: len(self.waiting) >= count)
            return sorted(self.waiting)

    def release(self, path, reply):
        with self.changed:
            self.waiting[path] = reply
            self.changed.notify_all()

    def hold(self, path):
        """Waits for the release of the path. Returns the reply."""
        with self.changed:
            self.waiting[path] = None
            self.most = max(self.most, len(self.waiting))
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.waiting[path] is not None)
            return self.waiting.pop(path)


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while True:  # ends with the connection, or with a reply that ends it
            line = self.rfile.readline()
            if not line:
                return
            while self.rfile.readline().strip():  # the fields
                pass
            path = line.split()[1].decode()
            answer = self.server.answer or self.server.hold
            reply, ends = answer(path), False
            if isinstance(reply, tuple):
                reply, ends = reply
            self.wfile.write(reply)
            if ends:
                self.connection.shutdown(socket.SHUT_RDWR)
                return


def reply_of(body, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def number_of(path):
    return int(path.rpartition("=")[2])


def answer_in_order(program, arguments, count, at_once, line_of):
    """The server holds all requests that come, and answers the youngest; its line is the next one."""
    server = Server()
    child = subprocess.Popen([program, "--server", server.address(), *arguments],
                             stdout=subprocess.PIPE, text=True)
    for left in range(count, 0, -1):
        path = server.await_requests(min(left, at_once))[-1]
        number = number_of(path)
        server.release(path, reply_of(f'{{"args": {{"a": "{number}"}}}}'))
        line = child.stdout.readline()
        require(line == line_of(number), "each line comes with its answer", (line, number))
    require(child.wait() == 0 and child.stdout.read() == "", "it ends with 0", child.returncode)
    require(server.most == at_once, f"{at_once} requests are made at once", server.most)


def get_status(program):
    for workers in ("1", "2", "0"):
        code, out, err = run(program, "--workers", workers)
        require(code == 0, "it exits with 0", (code, err))
        require(sorted(out.splitlines()) == sorted(f"200 {i}" for i in range(10)),
                "each of ten is printed once", out)
    answer_in_order(program, [], 10, 10, lambda number: f"200 {number}\n")

    server = Server(lambda path: reply_of("none", "404 Not Found"))
    code, out, _ = run(program, "--server", server.address())
    require(code == 0 and sorted(out.splitlines()) == sorted(f"404 {i}" for i in range(10)),
            "the status is the server's", out)
    code, out, err = run(program, "--server", "127.0.0.1:1")
    require(code == 1 and out == "" and "refused" in err, "nobody there is an error", (code, err))
    check_flags(program, ["--server", "--workers"], [["--unknown"], ["--workers", "x"], ["surplus"]])


def limited_fetch(program):
    for limit in (3, 1, 12):
        code, out, err = run(program, "--limit", str(limit), "--workers", "2")
        require(code == 0, "it exits with 0", (code, err))
        require(sorted(out.splitlines()) == sorted(f"fetch({i}) = {i}" for i in range(12)),
                "each of twelve is printed once", out)
        most = int(re.search(r"^at most (\d+) at once$", err, re.MULTILINE)[1])
        require(1 <= most <= limit, f"at most {limit} are fetched at once", err)
    answer_in_order(program, [], 12, 3, lambda number: f"fetch({number}) = {number}\n")
    answer_in_order(program, ["--limit", "12"], 12, 12,
                    lambda number: f"fetch({number}) = {number}\n")
    check_flags(program, ["--server", "--count", "--limit", "--workers"],
                [["--limit", "0"], ["--count", "x"], ["--unknown", "1"]])


SUMMARY = re.compile(r"(\d+) of (\d+) pages, (\d+) failed, (\d+) retries, (\d+) connections")


def check_own_site(program, workers):
    code, out, err = run(program, "--workers", workers)
    require(code == 0, "it exits with 0", (code, err))
    require(sorted(out.splitlines()) == sorted(f"200 /page/{i}" for i in range(31)),
            "each page is printed once, with 200 in the end", out)
    done, found, failed, retries, connected = map(int, SUMMARY.search(err).groups())
    require((done, found, failed) == (31, 31, 0), "all pages are there", err)
    require(retries >= 8, "eight pages fail at first", err)
    require(connected <= 3 + retries, "connections are kept", err)
    require("pages: 100% 31/31" in err, "the bar ends at the end", err)


PAGES = {
    "/": ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          "9\r\n<a href=\"\r\n5;x=y\r\n/end\"\r\n10\r\n<a href=\"/broken\r\n1\r\n\"\r\n0\r\n\r\n", False),
    "/end": ("HTTP/1.0 200 OK\r\n\r\n<a href=\"/closes\"><a href=\"/#top\"><a href=\"/lost\">", True),
    "/closes": ("HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n<a href=\"/after\"> href=\"//x", True),
    "/after": ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", False),
    "/lost": ("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnone", True),
    "/broken": ("SMTP? 200 OK\r\n\r\n", True),
}


def check_replies(program):
    """All ways in which a body ends; a server that closes behind its back; one that speaks nonsense."""

    def answer(path):
        text, ends = PAGES[path]
        return text.encode(), ends

    server = Server(answer)
    code, out, err = run(program, "--server", server.address(), "--start", "/", "--limit", "1")
    expected = ["200 /", "200 /end", "0 /broken", "200 /closes", "404 /lost", "204 /after"]
    require(code == 0 and out.splitlines() == expected, "each page as it was answered", (out, err))
    require("6 of 6 pages, 1 failed, 2 retries" in err, "the broken one is tried again", err)


def crawler(program):
    for workers in ("1", "2"):
        check_own_site(program, workers)
    check_replies(program)

    server = Server()
    child = subprocess.Popen([program, "--server", server.address(), "--timeout", "3600000"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    server.release(server.await_requests(1)[0], reply_of('<a href="/1"><a href="/2">'))
    require(child.stdout.readline() == "200 /page/0\n", "the first page is there", None)
    server.await_requests(2)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate()
    require(child.returncode == 130 and "1 of 3 pages" in err, "Ctrl-C ends it", (child.returncode, err))

    check_flags(program, ["--server", "--start", "--pages", "--limit", "--timeout", "--workers"],
                [["--pages", "0"], ["--pages", "1001"], ["--limit", "17"], ["--unknown", "1"]])


{"get_status": get_status, "limited_fetch": limited_fetch, "crawler": crawler}[sys.argv[1]](sys.argv[2])
