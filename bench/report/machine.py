# SPDX-License-Identifier: MIT
"""The machine, the build and the peers, as they are while it is measured."""

import datetime
import os
import platform
import re
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _run(*command):
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _found(pattern, text, otherwise="unknown"):
    match = re.search(pattern, text, re.M)
    return match[1].strip() if match else otherwise


def facts():
    """What does not change while the program runs: name -> text."""
    cpu = _read("/proc/cpuinfo")
    memory_kib = int(_found(r"^MemTotal:\s*(\d+)", _read("/proc/meminfo"), "0"))
    product = " ".join(filter(None, (_read("/sys/class/dmi/id/sys_vendor"),
                                     _read("/sys/class/dmi/id/product_name"))))
    is_guest = re.search(r"^flags.*\bhypervisor\b", cpu, re.M) is not None
    return {
        "CPU": _found(r"^model name\s*:\s*(.*)$", cpu),
        "CPUs": str(os.cpu_count()),
        "guest": (product or "yes") if is_guest else "no hypervisor seen",
        "memory": f"{memory_kib / 2**20:.1f} GiB",
        "kernel": platform.release(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not told",
        "clock source": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "huge pages": _found(r"\[(\w+)\]", _read("/sys/kernel/mm/transparent_hugepage/enabled")),
        "system": _found(r'^PRETTY_NAME="(.*)"$', _read("/etc/os-release")),
    }


def build(bin_dir):
    """Commit, compiler and flags: name -> text; is_dirty is "yes" or "no"."""
    cache = _read(os.path.join(os.path.dirname(os.path.abspath(bin_dir)), "CMakeCache.txt"))
    kind = _found(r"^CMAKE_BUILD_TYPE:\w+=(.*)$", cache, "")
    flags = [_found(rf"^CMAKE_C_FLAGS{suffix}:\w+=(.*)$", cache, "")
             for suffix in ("", "_" + kind.upper())]
    compiler = _found(r"^CMAKE_C_COMPILER:\w+=(.*)$", cache, "")
    changes = _run("git", "--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    return {
        "commit": _run("git", "rev-parse", "HEAD") or "unknown",
        "is_dirty": "yes" if changes else "no",
        "compiler": _run(compiler, "--version").partition("\n")[0] if compiler else "unknown",
        "flags": " ".join(filter(None, flags)) or "unknown",
        "build type": kind or "unknown",
    }


def moment():
    """What changes: time, load, and the ticks of all CPUs as /proc/stat counts them."""
    ticks = [int(word) for word in _read("/proc/stat").partition("\n")[0].split()[1:]]
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "load": float(_read("/proc/loadavg").split()[0]),
        "ticks": sum(ticks[:8]),
        "steal_ticks": ticks[7] if len(ticks) > 7 else 0,
    }


def steal_percent(begin, end):
    passed = end["ticks"] - begin["ticks"]
    return 100 * (end["steal_ticks"] - begin["steal_ticks"]) / passed if passed > 0 else 0


def warnings(raw):
    """What makes the figures less than they look, of a whole raw record."""
    found = []
    steal = steal_percent(raw["begin"], raw["end"])
    if raw["begin"]["load"] > 1:
        found.append(f"The load was {raw['begin']['load']:.1f} at the start: "
                     "others used the machine.")
    if steal > 1:
        found.append(f"The hypervisor took {steal:.1f} % of the CPU time.")
    if raw["build"]["is_dirty"] == "yes":
        found.append("The tree differs from the commit.")
    if raw.get("is_quick"):
        found.append("A quick run: it shows that everything works. Its figures are no measurement.")
    if raw.get("benchmark_build") == "debug":
        found.append("The packaged Google Benchmark says that it was built as DEBUG; that costs "
                     "its own loop a little, and bonxie nothing else.")
    if raw["machine"]["governor"] not in ("performance", "not told"):
        found.append(f"The CPU governor is {raw['machine']['governor']}.")
    for section, (done, wanted) in sorted(raw.get("rounds", {}).items()):
        if done < wanted:
            found.append(f"{section}: {done} of {wanted} rounds; the time was used up.")
    return found


def peers(bin_dir):
    """[{name, state, detail}]: built with its version, or missing with the reason."""
    found = []
    for line in _read(os.path.join(bin_dir, "peers.txt")).splitlines():
        name, _, rest = line.partition(" ")
        state, _, reason = rest.partition(" ")
        detail = reason
        program = os.path.join(bin_dir, "peer-" + name)
        if state == "built" and not os.access(program, os.X_OK):
            state, detail = "missing", "its build failed"
        elif state == "built":
            detail = _run(program, "--version").partition("\n")[0]
        found.append({"name": name, "state": state, "detail": detail or "says nothing"})
    for name, *command in (("nginx", "nginx", "-v"), ("redis", "redis-server", "--version"),
                           ("haproxy", "haproxy", "-v")):
        version = _version(command)
        found.append({"name": name, "state": "built" if version else "missing",
                      "detail": version or f"no {command[0]}"})
    return found


def _version(command):
    """Of a packaged program; nginx writes its own on stderr."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30,
                              env={**os.environ, "PATH": path})
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def library_bytes(bin_dir):
    """The stripped size of libbonxie.so of that build. Raises OSError or CalledProcessError."""
    top = os.path.dirname(os.path.abspath(bin_dir))
    library = next((os.path.join(folder, name) for folder, _, names in os.walk(top)
                    for name in sorted(names) if name == "libbonxie.so"), None)
    if library is None:
        raise FileNotFoundError("libbonxie.so is not built")
    with tempfile.TemporaryDirectory() as folder:
        stripped = os.path.join(folder, "stripped")
        subprocess.run(["strip", "-o", stripped, library], check=True, timeout=30)
        return os.path.getsize(stripped)
