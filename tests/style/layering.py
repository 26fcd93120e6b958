# SPDX-License-Identifier: MIT
"""Who may include whom; the same table stands in runtime/README.md."""

import os
import re

import tree

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)

# runtime/ in levels, by stem; runtime/README.md has the same lists.
LEVELS = [set(stems.split()) for stems in (
    "atomic check clock compiler list lock os os_process rng",
    """context crash deque idle mpscq pool quota runq stack textfile thread_wait topology waitq
       wheel""",
    """call driver dump_pvt environment guest queue rescue runtime runtime_pvt scope_pvt steal strand
       suspension task task_pvt thread_pool timer wait waiter watchdog worker""",
    """barrier broadcast cancel chan chan_pvt completed cond defer dump event fork future gen
       gen_pvt gen_stack handle iter kind limiter list_wait local main mutex offload once oneshot
       progress progress_pvt rwlock scope select sem several shield sim sim_os sim_pvt spawn
       sync_pvt ticker time user_timer user_timer_pvt wait_once waitgroup watch""",
)]
LEVEL_0, LEVEL_1, LEVEL_2, LEVEL_3 = LEVELS
# Within L1, beside a file's own header.
LEVEL_1_PAIRS = {("context", "stack"), ("crash", "stack"), ("quota", "topology"),
                 ("quota", "textfile"), ("topology", "textfile")}
# Public headers that L1 may include, for their types.
VOCABULARY = {"bonxie/base.h", "bonxie/stack.h", "bonxie/waitable.h"}
# What io/ may see of runtime/.
PORT = LEVEL_0 | {"task_pvt", "driver", "wait", "waiter", "waitq", "thread_pool"}
# Only these may include liburing's header.
LIBURING_USERS = {"io/ring.c", "io/ring.h"}

PUBLIC_FOLDERS = ("runtime/include/", "io/include/")


def stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def allowed(path, included):
    """None when path may include the project's header `included`, else the reason."""
    if included.startswith("bonxie/"):
        if path.startswith("runtime/") and not path.startswith(PUBLIC_FOLDERS):
            if stem(path) in LEVEL_0 or (stem(path) in LEVEL_1 and included not in VOCABULARY):
                return "L0 and L1 know no public call"
            if not os.path.exists(os.path.join(tree.ROOT, "runtime/include", included)):
                return "runtime/ knows no header of io/"
        return None
    if path.startswith(PUBLIC_FOLDERS):
        return "a public header includes public headers alone"
    if "/examples/" in path:
        return None if included.startswith(os.path.dirname(path)) else "examples use the public API"
    if path.startswith("bench/"):
        is_inside = path.startswith("bench/micro/") or included.startswith("bench/")
        return None if is_inside else "only bench/micro sees internals"
    if path.startswith("runtime/"):
        return allowed_in_runtime(path, included)
    if path.startswith("io/"):
        if included.startswith("io/") or (included.startswith("runtime/") and stem(included) in PORT):
            return None
        return "io/ sees of runtime/ its foundation, task_pvt, driver, wait, waiter, waitq and thread_pool"
    return None


def allowed_in_runtime(path, included):
    if not included.startswith("runtime/"):
        return "runtime/ includes runtime/ alone"
    mine, theirs = stem(path), stem(included)
    if mine in LEVEL_0:
        return None if theirs in LEVEL_0 else "L0 includes L0"
    if mine in LEVEL_1:
        is_fine = theirs in LEVEL_0 or theirs == mine or (mine, theirs) in LEVEL_1_PAIRS
        return None if is_fine else "L1 includes L0 and its own header"
    if mine in LEVEL_2:
        return "L2 includes nothing of L3" if theirs in LEVEL_3 else None
    return None


def is_project_header(included):
    return included.startswith(("bonxie/", "runtime/", "io/", "bench/", "tests/"))


def check_system(path, included):
    if included == "liburing.h" and path.startswith(("runtime/", "io/")):
        return None if path in LIBURING_USERS else "only io/ring.c and io/ring.h include liburing.h"
    is_public = path.startswith(PUBLIC_FOLDERS)
    if is_public and (included == "stdatomic.h" or included.startswith(("ck_", "liburing"))):
        return "a public header includes libc, POSIX and public headers alone"
    return None


def layering():
    for path in tree.files(tree.C_SUFFIXES):
        text = tree.without_comments(tree.read(path))
        for match in INCLUDE.finditer(text):
            quote, included = match[1], match[2]
            number = text.count("\n", 0, match.start(2)) + 1
            reason = None
            if included.endswith(".c"):
                reason = "no .c is included"
            elif is_project_header(included):
                reason = allowed(path, included)
            elif quote == '"':
                reason = "our headers are included by their path from the root"
            else:
                reason = check_system(path, included)
            if reason:
                yield f"{path}:{number}: {included}: {reason}"
        if path.startswith(PUBLIC_FOLDERS) and re.search(r"\b_?[Tt]hread_local\b|\b__thread\b", text):
            yield f"{path}: a public header holds no thread-local"


def levels():
    """Each file of runtime/ has a level, and runtime/README.md gives it the same."""
    readme = "runtime/README.md"
    said = [set() for _ in LEVELS]
    if os.path.exists(os.path.join(tree.ROOT, readme)):
        for level, stems in re.findall(r"^ +L([0-3]):((?: \w+)+)$", tree.read(readme), re.MULTILINE):
            said[int(level)].update(stems.split())
    for path in tree.files((".c", ".h"), ("runtime",)):
        if os.path.dirname(path) != "runtime":
            continue
        level = next((i for i, stems in enumerate(LEVELS) if stem(path) in stems), None)
        if level is None:
            yield f"{path}: has no level in tests/style/layering.py"
        elif stem(path) not in said[level]:
            yield f"{path}: is of L{level}, and {readme} does not say so"
    for level, stems in enumerate(said):
        yield from (f"{readme}: {name} is not of L{level}" for name in sorted(stems - LEVELS[level]))


def maps():
    """runtime/README.md and io/README.md name every file of their folder."""
    for folder in ("runtime", "io"):
        sources = [path for path in tree.files((".c", ".h", ".S"), (folder,))
                   if os.path.dirname(path) == folder]
        if not sources:
            continue
        readme = f"{folder}/README.md"
        if not os.path.exists(os.path.join(tree.ROOT, readme)):
            yield f"{readme}: is not there"
            continue
        text = expand(tree.read(readme))
        for path in sources:
            if not re.search(r"(?<![\w.])" + re.escape(os.path.basename(path)) + r"(?!\w)", text):
                yield f"{readme}: does not name {os.path.basename(path)}"


def expand(text):
    """Writes stack.{h,c} and stack.h/.c out as stack.h stack.c."""
    text = re.sub(r"(\w+)\.\{(\w+),(\w+)\}", r"\1.\2 \1.\3", text)
    return re.sub(r"(\w+)\.(\w+)`?[/,] ?`?\.(\w+)", r"\1.\2 \1.\3", text)
