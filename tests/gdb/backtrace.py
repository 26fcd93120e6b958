# SPDX-License-Identifier: MIT
"""Debuggers see parked tasks: gdb, given the four saved words of a task, prints its whole stack.

    backtrace.py live|core COMPILER ROOT FOLDER SOURCES

Builds parked.c with SOURCES (a file that lists the library's, and what to link, one a line) by
COMPILER -O2 in FOLDER, with and without frame pointers (the unwinder then starts from fp, or from
sp). Stops it where all its tasks are parked, or lets it dump core there, and sets sp, pc, fp and bx
to what each parked task has saved, in turn. The backtrace must then name, innermost first: the park
function, the call that waits, every call of middle(), the handler; for a child that runs beneath its
parent also the parent; inside a generator its body, and not who drives it; and end at the trampoline.

The file plays two parts: run by python3 it builds and calls gdb, which runs it again inside.
"""

import fcntl
import glob
import os
import platform
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

try:
    import gdb
except ImportError:
    gdb = None

# What each kind of task must show between park and trampoline; "middle" stands for DEPTH of them.
PARK = "bnx_task_park"
EXPECTED = {
    "sleep": ["bnx_sleep_for", "middle", "handler_sleep", "task_entry"],
    "future": ["bnx_future_await", "middle", "handler_future", "task_entry"],
    "recv": ["bnx_recv", "middle", "handler_recv", "task_entry"],
    "inline": ["bnx_sleep_for", "middle", "child_inline", "bnx_task_run_inline",
               "bnx_scope_close", "parent_beneath", "task_entry"],
    "gen": ["bnx_sleep_for", "middle", "body_waits", "body_entry"],
}
DEPTHS = range(1, 6)
NAMES = sorted([f"{kind}:{depth}" for kind in ("sleep", "future", "recv") for depth in DEPTHS] + ["gen:3", "inline:2"])
LAST = "bnx_context_trampoline"

# For each machine: gdb's names of {sp, pc, fp, bx}, and where they are in an NT_PRSTATUS note's
# registers, counted in words.
MACHINES = {
    "x86_64": (("rsp", "rip", "rbp", "rbx"), (19, 16, 4, 5)),
    "aarch64": (("sp", "pc", "x29", "x19"), (31, 32, 29, 19)),
}
PRSTATUS_REGISTERS_OFFSET = 112
VARIANTS = {"": "-fomit-frame-pointer", "-fp": "-fno-omit-frame-pointer"}
GDB_SECONDS = 120


# ---- Inside gdb ----

def parked_tasks():
    """The name and the four saved words of each parked task, found through the descriptor pool."""
    pool = gdb.parse_and_eval("parked_runtime->tasks")
    parked = int(gdb.parse_and_eval("(int)BNX_TASK_PARKED"))
    task_type = gdb.lookup_type("struct bnx_task").pointer()
    slab = pool["slabs"]
    found = {}
    while int(slab) != 0:
        first = int(slab["objects"].address)
        for i in range(int(slab["count"])):
            address = first + i * int(pool["object_bytes"])
            task = gdb.Value(address).cast(task_type).dereference()
            if int(task["id"]) != 0 and int(task["state"]) == parked:
                context = task["context"]
                found[task["name"].string()] = [int(context[word]) for word in ("sp", "pc", "fp", "bx")]
        slab = slab["next"]
    return found


def frames():
    names = []
    frame = gdb.newest_frame()
    while frame is not None:
        names.append(frame.name() or "??")
        frame = frame.older()
    return names


def check(name):
    """Compares the backtrace of the selected registers with what the task's name promises."""
    text = gdb.execute("bt", to_string=True)
    if "corrupt stack" in text:
        raise gdb.GdbError(f"{name}: gdb calls the stack corrupt:\n{text}")
    kind, depth = name.split(":")
    wanted = [PARK]
    for function in EXPECTED[kind]:
        wanted += ["middle"] * int(depth) if function == "middle" else [function]
    names = frames()
    rest = iter(names)
    missing = [function for function in wanted if function not in rest]  # in this order, with gaps
    if kind == "gen" and "handler_gen" in names:
        missing.append("the end of the body's stack")
    if missing or names[-1] != LAST or names.count("middle") != int(depth) or "??" in names:
        raise gdb.GdbError(f"{name}: expected {wanted} and {LAST} last:\n{text}")
    print(f"{name}: {len(names)} frames")


def check_names(tasks):
    if sorted(tasks) != NAMES:
        raise gdb.GdbError(f"parked are {sorted(tasks)}, expected {NAMES}")


def inside_live(registers):
    gdb.execute("break all_parked")
    gdb.execute("run")
    tasks = parked_tasks()
    check_names(tasks)
    before = {register: int(gdb.parse_and_eval(f"(long)${register}")) for register in registers}

    def load(words):
        gdb.execute("frame 0", to_string=True)
        for register, word in zip(registers, words):
            gdb.execute(f"set ${register} = {word}")

    for name, words in sorted(tasks.items()):
        load(words)
        check(name)
    load([before[register] for register in registers])
    gdb.execute("delete")
    gdb.execute("continue")
    if int(gdb.parse_and_eval("$_exitcode")) != 0:
        raise gdb.GdbError("the program did not survive the look")


def prstatus_offset(core):
    """Where the registers of the thread that dumped are in a core file: its first NT_PRSTATUS."""
    with open(core, "rb") as file:
        header = file.read(64)
        table, entry_bytes, count = struct.unpack_from("<Q", header, 32)[0], *struct.unpack_from("<HH", header, 54)
        for i in range(count):
            file.seek(table + i * entry_bytes)
            kind, _, offset, _, _, size = struct.unpack("<IIQQQQ", file.read(40))
            if kind != 4:  # PT_NOTE
                continue
            end = offset + size
            while offset < end:
                file.seek(offset)
                name_bytes, data_bytes, note = struct.unpack("<III", file.read(12))
                data = offset + 12 + (name_bytes + 3) // 4 * 4
                if note == 1:  # NT_PRSTATUS
                    return data + PRSTATUS_REGISTERS_OFFSET
                offset = data + (data_bytes + 3) // 4 * 4
    raise gdb.GdbError("the core file has no registers")


def inside_core(core, positions):
    """gdb refuses to set registers where no process is; so they are written into the core file."""
    gdb.execute(f"core-file {core}", to_string=True)
    tasks = parked_tasks()
    check_names(tasks)
    registers = prstatus_offset(core)
    for name, words in sorted(tasks.items()):
        gdb.execute("core-file", to_string=True)
        with open(core, "r+b") as file:
            for position, word in zip(positions, words):
                file.seek(registers + 8 * position)
                file.write(struct.pack("<Q", word))
        gdb.execute(f"core-file {core}", to_string=True)
        check(name)


def inside():
    names, positions = MACHINES[platform.machine()]
    core = os.environ["BNX_GDB_CORE"]
    gdb.execute("set pagination off")
    gdb.execute("set confirm off")
    gdb.execute("set debuginfod enabled off")
    try:
        if core:
            inside_core(core, positions)
        else:
            inside_live(names)
    except (gdb.error, gdb.GdbError) as error:
        print(f"failed: {error}", file=sys.stderr)
        gdb.execute("kill" if not core else "core-file", to_string=True)
        gdb.execute("quit 1")
    gdb.execute("quit 0")


# ---- Outside ----

def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def run(command, **options):
    done = subprocess.run(command, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed with {done.returncode}")


def newest_change(root):
    changed = 0.0
    for folder in ("runtime", "io", "tests/gdb"):
        for path, _, files in os.walk(os.path.join(root, folder)):
            changed = max([changed] + [os.path.getmtime(os.path.join(path, file)) for file in files])
    return changed


def build(compiler, variant, root, folder, sources):
    """Builds parked.c and the library with another compiler than the rest of the tree may have."""
    os.makedirs(folder, exist_ok=True)
    program = os.path.abspath(os.path.join(folder, f"parked-{os.path.basename(compiler)}{variant}"))
    with open(program + ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # live and core may run side by side
        if os.path.exists(program) and os.path.getmtime(program) > newest_change(root):
            return program
        with open(sources, encoding="utf-8") as file:
            files = file.read().split()
        flags = ["-std=gnu17", "-O2", VARIANTS[variant], "-g", "-D_GNU_SOURCE", "-fvisibility=hidden", "-fasynchronous-unwind-tables",
                 "-pthread", f"-I{root}", f"-I{root}/runtime/include", f"-I{root}/io/include"]
        if platform.machine() == "x86_64":
            flags.append("-fcf-protection=branch")
        files.append(os.path.join(root, "tests/gdb/parked.c"))
        run([compiler, *flags, *files, "-luring", "-o", program + ".new"])
        os.rename(program + ".new", program)
    return program


def dump_core(program, folder):
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    done = subprocess.run([program, "--abort"], cwd=folder, check=False)
    cores = glob.glob(os.path.join(folder, "core*"))
    if done.returncode != -6:
        sys.exit(f"{program} --abort ended with {done.returncode}, not by SIGABRT")
    if not cores:
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as file:
            skip(f"no core file appears in the working directory; core_pattern is {file.read().strip()}")
    return cores[0]


def outside(mode, compiler, root, folder, sources):
    if platform.machine() not in MACHINES:
        skip(f"no register names for {platform.machine()}")
    if shutil.which("gdb") is None:
        skip("gdb is not installed")
    if shutil.which(compiler) is None:
        skip(f"{compiler} is not installed")
    if subprocess.run(["gdb", "-nx", "-batch", "-ex", "python import struct"], capture_output=True,
                      check=False).returncode != 0:
        skip("gdb has no python")
    for variant in VARIANTS:
        look(mode, build(compiler, variant, root, folder, sources))


def look(mode, program):
    """Runs gdb, with this file in it; returns when every task was as it should be."""
    with tempfile.TemporaryDirectory() as scratch:
        core = dump_core(program, scratch) if mode == "core" else ""
        done = subprocess.run(["gdb", "-nx", "-batch", "-x", os.path.abspath(__file__), program],
                              env=dict(os.environ, BNX_GDB_CORE=core), timeout=GDB_SECONDS,
                              text=True, capture_output=True, check=False)
    print(done.stdout, done.stderr, sep="")
    said = done.stdout + done.stderr
    if "Could not trace the inferior process" in said or "ptrace: Operation not permitted" in said:
        skip("ptrace is not permitted here")
    if done.returncode != 0 or any(f"{name}: " not in done.stdout for name in NAMES):
        sys.exit(f"{program}: not every task has the backtrace it should have")


if gdb is not None:
    inside()
elif len(sys.argv) != 6 or sys.argv[1] not in ("live", "core"):
    sys.exit(__doc__)
else:
    outside(*sys.argv[1:])
