# SPDX-License-Identifier: MIT
"""Servers under load: columns of connection counts, latency against arrivals, programs.

All servers of a column run at the same time and are asked in turn; ours and the bare loops first,
close together, then the peers. A server is started anew in every round.
"""

import contextlib
import os
import re
import shutil
import time

import programs
import rows

PEER_ROUNDS = 7  # the peers' distance needs less precision than the bare loops'
TIMEOUT_S = 30
WITNESS_ROUNDS = 5
REDIS_REQUESTS = 60_000
REDIS_CONNECTIONS = 64
REDIS_WORK = (("set", 1), ("get", 1), ("set", 16), ("get", 16))


class Services:
    def __init__(self, record, chance):
        self.record = record
        self.options = record.options
        self.chance = chance
        absent = {server.name: programs.server_absent(server, self.options.bin)
                  for server in rows.SERVERS}
        self.servers = [server for server in rows.SERVERS if not absent[server.name]]
        record.head["absent_servers"] = {name: why for name, why in absent.items() if why}
        self.columns = [
            f"{protocol}.{workers}.{connections}" for protocol in rows.PROTOCOLS
            for workers in rows.SERVER_WORKERS for connections in self.options.connections
            if self._is_wanted(f"{protocol}.{workers}.{connections}")]
        self.curve = ["curve"] if self._is_wanted("curve") else []
        self.programs = [name for name in ("cache", "proxy", "witness") if self._is_wanted(name)]

    def _is_wanted(self, name):
        return re.search(self.options.only, name) is not None

    # ---- CPU per request against connections ----

    def columns_round(self, number, is_over):
        groups = {}
        for column in self.columns:
            protocol, workers, connections = column.split(".")
            groups.setdefault((protocol, int(workers)), []).append(int(connections))
        order = sorted(groups)
        self.chance.shuffle(order)
        for protocol, workers in order:
            if is_over():
                break
            servers = [server for server in self.servers
                       if protocol in server.commands and workers in server.workers
                       and (server.kind != "peer" or number < PEER_ROUNDS)]
            self._group(number, protocol, workers, groups[protocol, workers], servers)

    def _group(self, number, protocol, workers, counts, servers):
        with contextlib.ExitStack() as stack:
            running = {}
            for server in servers:
                with self._failing(server, protocol, workers, counts, number):
                    started = self._start(server, protocol, workers)
                    running[server.name] = stack.enter_context(started)
            self.chance.shuffle(counts)
            for connections in counts:
                near = [s for s in servers if s.name in running and s.kind != "peer"]
                far = [s for s in servers if s.name in running and s.kind == "peer"]
                self.chance.shuffle(near)
                self.chance.shuffle(far)
                for server in near + far:
                    if not server.connections or connections in server.connections:
                        self._load(number, server, running[server.name], protocol, workers,
                                   connections)

    def _start(self, server, protocol, workers):
        return programs.server_start(server, protocol, workers, self.options.bin)

    @contextlib.contextmanager
    def _failing(self, server, protocol, workers, counts, number):
        """What does not start fails in every column."""
        try:
            yield
        except programs.Failed as failure:
            for connections in counts:
                if not server.connections or connections in server.connections:
                    cell = self._cell(server, f"{protocol}.{workers}.{connections}")
                    self.record.fail(cell, number, failure)

    def _cell(self, server, column):
        return self.record.cell(f"{server.name} {column}", side=server.name, kind=server.kind)

    def _load(self, number, server, running, protocol, workers, connections, rate=0, column=""):
        cell = self._cell(server, column or f"{protocol}.{workers}.{connections}")
        cell.setdefault("server", self._shown(server, running))
        command = programs.load_command(self.options.bin, protocol, running.address, connections,
                                        self.options.curve_seconds if rate
                                        else self.options.load_seconds,
                                        running.process.pid, rate)
        self.record.take(cell, number, command, programs.load, TIMEOUT_S)

    def _shown(self, server, running):
        words = [f"{name}={value}" for name, value in server.environment]
        top = os.path.dirname(os.path.dirname(self.options.bin))
        return words + [os.path.relpath(word, os.path.dirname(top))
                        if word.startswith(self.options.bin) else word for word in running.command]

    # ---- Latency against arrivals ----

    def curve_round(self, number, is_over):
        servers = [server for server in self.servers if server.name in rows.CURVE_SERVERS]
        try:
            capacity = self._capacity()
        except programs.Failed as failure:
            cell = self.record.cell("bare-epoll curve", side="bare-epoll")
            self.record.fail(cell, number, failure)
            return
        with contextlib.ExitStack() as stack:
            running = {}
            for server in servers:
                with contextlib.suppress(programs.Failed):
                    running[server.name] = stack.enter_context(self._start(server, "echo", 1))
            for part in rows.CURVE_PARTS:
                if is_over():
                    break
                self.chance.shuffle(servers)
                for server in servers:
                    if server.name in running:
                        self._load(number, server, running[server.name], "echo", 1,
                                   rows.CURVE_CONNECTIONS, round(part * capacity),
                                   f"curve.{round(100 * part)}")

    def _capacity(self):
        """Requests a second that bare-epoll answers when it always has one waiting."""
        if "echo_capacity" not in self.record.head:
            server = next(s for s in rows.SERVERS if s.name == "bare-epoll")
            with self._start(server, "echo", 1) as running:
                command = programs.load_command(self.options.bin, "echo", running.address,
                                                rows.CURVE_CONNECTIONS, 1)
                said = programs.load(command, TIMEOUT_S)
            self.record.head["echo_capacity"] = said["rate"]
        return self.record.head["echo_capacity"]

    # ---- Programs ----

    def programs_round(self, number, is_over):
        parts = list(self.programs)
        self.chance.shuffle(parts)
        for part in parts:
            if is_over():
                break
            {"cache": self._caches, "proxy": self._proxies, "witness": self._witness}[part](number)

    def _caches(self, number):
        ours = [os.path.join(self.options.bin, "cache"), "--listen", "127.0.0.1:{port}",
                "--workers", "1"]
        sides = [("bonxie", ours, ""), ("again", ours, ""),
                 ("redis", ["redis-server", "{dir}/redis.conf"], "redis/redis.conf.in")]
        with contextlib.ExitStack() as stack:
            running = self._start_all(stack, number, sides, [f"cache.{work}.{pipeline}"
                                                             for work, pipeline in REDIS_WORK])
            for work, pipeline in REDIS_WORK:
                order = sorted(running)
                self.chance.shuffle(order)
                for side in order:
                    self._redis_load(number, side, running[side], work, pipeline)

    def _start_all(self, stack, number, sides, columns, values=None):
        running = {}
        for side, command, template in sides:
            try:
                environment = () if template else (("BONXIE_SPIN_US", "0"),)
                path = os.path.join(programs.PEERS_DIR, template) if template else ""
                running[side] = stack.enter_context(
                    programs.Running(command, environment, path, values))
            except programs.Failed as failure:
                for column in columns:
                    cell = self.record.cell(f"{side} {column}", side=side)
                    self.record.fail(cell, number, failure)
        return running

    def _redis_load(self, number, side, server, work, pipeline):
        cell = self.record.cell(f"{side} cache.{work}.{pipeline}", side=side)
        requests = REDIS_REQUESTS // (20 if self.options.quick else 1) * (4 if pipeline > 1 else 1)
        command = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port), "-t", work, "-c",
                   str(REDIS_CONNECTIONS), "-P", str(pipeline), "-n", str(requests), "-q", "--csv"]

        def measure(command, timeout_s):
            before_ns = server.cpu_ns()
            begin = time.monotonic()
            said = programs.run(command, timeout_s)
            if f'"{work.upper()}"' not in said:
                raise programs.Failed("redis-benchmark says " + said.strip()[-80:])
            seconds = time.monotonic() - begin
            return {"cpu": (server.cpu_ns() - before_ns) / requests / 1e3,
                    "rate": requests / seconds, "requests": requests}

        self.record.take(cell, number, command, measure, TIMEOUT_S)

    def _proxies(self, number):
        ours = [os.path.join(self.options.bin, "proxy"), "--listen", "127.0.0.1:{port}", "--to",
                "127.0.0.1:{to_port}", "--workers", "1"]
        sides = [("bonxie", ours, ""), ("again", ours, ""),
                 ("haproxy", ["haproxy", "-db", "-f", "{dir}/haproxy.cfg"],
                  "haproxy/haproxy.cfg.in")]
        backend = next(server for server in rows.SERVERS if server.name == "bare-epoll")
        with contextlib.ExitStack() as stack:
            try:
                behind = stack.enter_context(self._start(backend, "http", 1))
            except programs.Failed as failure:
                for side, *_ in sides:
                    cell = self.record.cell(f"{side} proxy.64", side=side)
                    self.record.fail(cell, number, failure)
                return
            running = self._start_all(stack, number, sides, ["proxy.64"],
                                      {"to_port": str(behind.port)})
            order = sorted(running)
            self.chance.shuffle(order)
            for side in order:
                cell = self.record.cell(f"{side} proxy.64", side=side)
                server = running[side]
                command = programs.load_command(self.options.bin, "http", server.address, 64,
                                                self.options.load_seconds, server.process.pid)
                self.record.take(cell, number, command, programs.load, TIMEOUT_S)

    def _witness(self, number):
        """What wrk says of two of the servers that bonxie-load drives."""
        if number >= WITNESS_ROUNDS or shutil.which("wrk") is None:
            return
        servers = [server for server in self.servers if server.name in ("bonxie", "bare-epoll")]
        self.chance.shuffle(servers)
        for server in servers:
            with self._failing_once(server, number), self._start(server, "http", 1) as running:
                command = ["wrk", "-t1", "-c64", "-d1s", f"http://{running.address}/plaintext"]
                self.record.take(self._cell(server, "witness.wrk"), number, command,
                                 lambda words, timeout_s, of=running: wrk(words, timeout_s, of),
                                 TIMEOUT_S)

    @contextlib.contextmanager
    def _failing_once(self, server, number):
        try:
            yield
        except programs.Failed as failure:
            self.record.fail(self._cell(server, "witness.wrk"), number, failure)


def wrk(command, timeout_s, server):
    """wrk's rate, and the server's CPU meanwhile, its accepts included."""
    before_ns = server.cpu_ns()
    said = programs.run(command, timeout_s)
    spent_ns = server.cpu_ns() - before_ns
    requests = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
    is_wrong = re.search(r"Socket errors|Non-2xx", said)
    if is_wrong or not (requests and rate) or int(requests[1]) == 0:
        raise programs.Failed("wrk says " + " ".join(said.split())[-120:])
    return {"rate": float(rate[1]), "requests": int(requests[1]),
            "cpu": spent_ns / int(requests[1]) / 1e3}
