# SPDX-License-Identifier: MIT
"""The echo server of the peer asyncio, on uvloop's event loop or on asyncio's own."""

import argparse
import asyncio
import os
import signal
import socket
import sys

BACKLOG = 4096


class Echo(asyncio.Protocol):
    """Callbacks, not streams: the quickest way that asyncio has."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


def listen(address, worker_count):
    """One listener for each process; returns them and what they are bound to."""
    if address.startswith("unix:"):
        path = address[len("unix:"):]
        if os.path.exists(path):
            os.unlink(path)  # of an earlier run
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        return [listener] * worker_count, address
    host, port = address.rsplit(":", 1)
    port = int(port)
    listeners = []
    for _ in range(worker_count):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        port = listener.getsockname()[1]
        listeners.append(listener)
    return listeners, f"{host}:{port}"


async def serve(listener):
    loop = asyncio.get_running_loop()
    is_unix = listener.family == socket.AF_UNIX
    create = loop.create_unix_server if is_unix else loop.create_server
    server = await create(Echo, sock=listener, backlog=BACKLOG)
    await server.serve_forever()


def start_processes(listeners):
    """Forks all but the first; returns the listener of this process. The children end with it."""
    children = []
    for listener in listeners[1:]:
        child = os.fork()
        if child == 0:
            return listener
        children.append(child)

    def end(_signal, _frame):
        for child in children:
            os.kill(child, signal.SIGTERM)
        os._exit(0)

    if children:
        signal.signal(signal.SIGTERM, end)
    return listeners[0]


def server_main(arguments):
    """Serves; arguments begin with echo or http. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="peer-asyncio")
    parser.add_argument("mode", choices=["echo"])
    parser.add_argument("--listen", default="127.0.0.1:0", help="ADDRESS:PORT or unix:PATH")
    parser.add_argument("--workers", type=int, default=1, help="processes, for a process has one")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    options = parser.parse_args(arguments)
    if options.loop == "uvloop":
        try:
            import uvloop
        except ImportError:
            print("peer-asyncio: no python3-uvloop", file=sys.stderr)
            return 1
        uvloop.install()
    listeners, address = listen(options.listen, options.workers)
    for listener in listeners:
        listener.listen(BACKLOG)
    print(f"listening on {address}", flush=True)
    asyncio.run(serve(start_processes(listeners)))
    return 0
