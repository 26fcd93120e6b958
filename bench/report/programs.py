# SPDX-License-Identifier: MIT
"""Runs one program at a time: a row of bonxie-bench, a row of a peer, a server and a load on it."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

# Google Benchmark appends these to the names.
SUFFIX = r"(/(iterations:[0-9]+|real_time|manual_time|process_time|min_time:[0-9.]+))*"
START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 5
NS_PER = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
# Daemons live where an unprivileged user's PATH does not look.
PEERS_DIR = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "peers")
PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


class Failed(Exception):
    """A program did not do what it should have done; the text says what."""


def run(command, timeout_s, environment=None):
    """Runs a program to its end; returns what it printed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s,
                              env={**os.environ, "PATH": PATH, **(environment or {})})
    except subprocess.TimeoutExpired:
        raise Failed(f"no end within {timeout_s:.0f} s") from None
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failed(f"ended with {done.returncode}: {said[-1] if said else 'says nothing'}")
    return done.stdout


# ---- Rows ----


def bench_command(bin_dir, name, seconds):
    return [os.path.join(bin_dir, "bonxie-bench"), f"--benchmark_filter=^{name}{SUFFIX}$",
            f"--benchmark_min_time={seconds}", "--benchmark_format=json"]


def bench(command, timeout_s):
    """One row of bonxie-bench: its counters, and its times in ns."""
    said = json.loads(run(command, timeout_s) or "{}")
    found = said.get("benchmarks", [])
    if len(found) != 1:
        raise Failed(f"{len(found)} rows of that name in bonxie-bench")
    row = found[0]
    if row.get("error_occurred"):
        raise Failed(row.get("error_message", "an error without a message"))
    sample = {key: value for key, value in row.items() if isinstance(value, (int, float))}
    for key in ("real_time", "cpu_time"):
        sample[key] *= NS_PER[row["time_unit"]]
    sample["benchmark_build"] = said.get("context", {}).get("library_build_type", "")
    return sample


def peer_command(bin_dir, name, work, workers, seconds):
    return [os.path.join(bin_dir, "peer-" + name), work, str(workers), str(seconds)]


def peer(command, timeout_s):
    """One row of a peer."""
    words = run(command, timeout_s).split()
    try:
        wall, cpu, operations = float(words[0]), float(words[1]), int(words[2])
    except (IndexError, ValueError):
        raise Failed("says " + (" ".join(words)[:80] or "nothing")) from None
    tail = {"tail": float(words[4])} if len(words) > 4 else {}
    return {"wall": wall, "cpu": cpu, "operations": operations, **tail}


def peer_works(bin_dir, name):
    """{work: worker counts} of a peer; empty when it does not say."""
    try:
        listed = run([os.path.join(bin_dir, "peer-" + name), "--list"], START_TIMEOUT_S)
    except Failed:
        return {}
    works = {}
    for line in listed.splitlines():
        work, *counts = line.split() or [""]
        if work and all(count.isdigit() for count in counts):
            works[work] = tuple(int(count) for count in counts) or (1, 2)
    return works


# ---- Servers ----


def port_find():
    """A port that is free now, for servers that cannot say which one they got."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_ns(pid):
    """CPU time of all threads of a process, those that have ended as well, and of its children."""
    total = 0
    for one in [pid, *children(pid)]:
        # What clock_getcpuclockid(3) makes of a process; exact to the ns, unlike /proc/PID/stat.
        with contextlib.suppress(OSError):
            total += time.clock_gettime_ns((~one << 3) | 2)
    return total


def children(pid):
    found = []
    for tid in _listed(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{tid}/children") as file:
            found += [int(word) for word in file.read().split()]
    return found


def _listed(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


class Running:
    """A server process, from its first answer to its end; a context manager."""

    def __init__(self, command, environment=(), template="", values=None):
        """The words of the command, and the template, have {name}s that values replaces."""
        self.folder = tempfile.mkdtemp(prefix="bonxie-report-")
        self.output = open(os.path.join(self.folder, "output"), "w+", encoding="utf-8")
        self.port = port_find()
        values = {"workers": "1", **(values or {}), "dir": self.folder, "port": str(self.port)}
        self.command = [fill(word, values) for word in command]
        self.address = f"127.0.0.1:{self.port}"
        self.process = None
        try:
            if template:
                self._configure(template, values)
            self.process = subprocess.Popen(
                self.command, stdout=self.output, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "PATH": PATH, **dict(environment)})
            self._await()
        except OSError as error:
            self.stop()
            raise Failed(f"{error.filename or self.command[0]}: {error.strerror}") from None
        except KeyError as error:
            self.stop()
            raise Failed(f"{template} wants {error}") from None
        except Failed:
            self.stop()
            raise

    def _configure(self, template, values):
        with open(template, encoding="utf-8") as file:
            text = file.read()
        name = os.path.basename(template).removesuffix(".in")
        # Braces are the configuration's own syntax: @NAME@ there.
        text = re.sub(r"@(\w+)@", lambda match: values[match[1].lower()], text)
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def _await(self):
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failed(f"ended with {self.process.returncode}: {self._last_line()}")
            address = ("127.0.0.1", self.port)
            with contextlib.suppress(OSError), socket.create_connection(address, 1):
                return
            time.sleep(0.01)
        raise Failed(f"does not listen within {START_TIMEOUT_S} s")

    def _last_line(self):
        self.output.seek(0)
        lines = self.output.read().strip().splitlines()
        return lines[-1] if lines else "says nothing"

    def cpu_ns(self):
        return cpu_ns(self.process.pid)

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        if self.is_alive():
            # The group is the server's own: its children are in it.
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.output.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def fill(word, values):
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], word)


def server_start(server, protocol, workers, bin_dir):
    template = os.path.join(PEERS_DIR, server.template) if server.template else ""
    values = {"bin": bin_dir, "protocol": protocol, "workers": str(workers)}
    return Running(server.commands[protocol], server.environment, template, values)


def load_command(bin_dir, protocol, address, connections, seconds, pid=0, rate=0):
    target = f"http://{address}/plaintext" if protocol == "http" else address
    command = [os.path.join(bin_dir, "bonxie-load"), "--json", "--mode", protocol,
               "--connections", str(connections), "--duration", str(seconds)]
    command += ["--rate", str(rate), "--arrivals", "poisson"] if rate else []
    return command + (["--server-pid", str(pid)] if pid else []) + [target]


def load(command, timeout_s):
    """One load on a server: its figures, in us."""
    said = json.loads(run(command, timeout_s))
    sample = {"rate": said["requests_per_s"], "requests": said["requests"],
              "cpu": said.get("server_cpu_us_per_request"),
              "own_cpu": said.get("generator_cpu_us_per_request"),
              "unanswered": said.get("unanswered", 0)}
    sample.update({key: said["latency_us"][key] for key in ("p50", "p90", "p99", "p99_9")})
    if said["errors"]["total"] > 0:
        raise Failed(f"{said['errors']['total']} errors")
    return sample


def server_absent(server, bin_dir):
    """Why a server cannot be tried; "" if it can."""
    if server.template and not os.path.exists(os.path.join(PEERS_DIR, server.template)):
        return f"no {server.template}"
    program = next(iter(server.commands.values()))[0].replace("{bin}", bin_dir)
    return "" if shutil.which(program, path=PATH) else f"no {os.path.basename(program)}"

