#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Each rule notices what it forbids and lets the clean neighbour pass.

A case is a rule, a file and two texts of it: the rule must be silent about the first and must name the
file for the second. They are laid out in a tree of their own.
"""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SPDX = "/* SPDX-License-Identifier: MIT */\n"
ORDERING = SPDX + "/*\n * Ordering\n *   E1 publish: store -> load\n */\n"
FUNCTION = SPDX + "void bnx_f(int *a) {{\n{body}}}\n"

# Words and paths that this very file must not hold whole.
UNFINISHED = "TO" + "DO"
MACHINE = "/ho" + "me/somebody/x"


SUSPENDS = SPDX + "/** Waits. Context: task, {}. */\nBNX_API int bnx_a(void);\n\n"


def with_body(lines):
    return FUNCTION.format(body="    (*a)++;\n" * lines)


CASES = [
    ("atomics", "runtime/x.c", SPDX + "/* __atomic_load_n */\n", SPDX + "int a = __atomic_load_n(p, 0);\n"),
    ("atomics", "io/x.c", SPDX, SPDX + "#include <stdatomic.h>\n"),
    ("edges", "runtime/x.c",
     ORDERING + "void bnx_f(int *a) {\n    bnx_store_release(a, 1); /* E1 */\n}\n",
     ORDERING + "void bnx_f(int *a) {\n    bnx_store_release(a, 1);\n}\n"),
    ("edges", "runtime/x.c",
     ORDERING + "void bnx_f(int *a) {\n    /* E1 */\n    bnx_store_light(a,\n        1);\n}\n",
     ORDERING + "void bnx_f(int *a) {\n    bnx_store_release(a, 1); /* E2 */\n}\n"),
    ("edges", "runtime/x.c",
     ORDERING + "void bnx_f(int *a) {\n    bnx_store_relaxed(a, 1);\n}\n",
     ORDERING + "void bnx_f(int *a) {\n    bnx_store_release(a, 1); /* E1 */\n    a++;\n"
                "    bnx_load_acquire(a);\n}\n"),
    ("comments", "runtime/x.c", SPDX + 'char *u = "http://x"; /* see http://x */\n', SPDX + "int a; // no\n"),
    ("file_sizes", "runtime/x.c", SPDX + "\n" * 599, SPDX + "\n" * 600),
    ("file_sizes", "runtime/x.h", SPDX + "\n" * 349, SPDX + "\n" * 350),
    ("file_sizes", "runtime/x.c", SPDX + "/*" + "x" * 98 + "\n", SPDX + "/*" + "x" * 99 + "\n"),
    ("function_sizes", "runtime/x.c", with_body(68), with_body(69)),
    ("layering", "runtime/runq.h", '#include "runtime/atomic.h"\n', '#include "runtime/worker.h"\n'),
    ("layering", "runtime/os.h", '#include "runtime/check.h"\n', '#include "runtime/runq.h"\n'),
    ("layering", "runtime/worker.c", '#include "runtime/runq.h"\n', '#include "io/ring.h"\n'),
    ("layering", "runtime/worker.c", "#include <stdio.h>\n", "#include <liburing.h>\n"),
    ("layering", "io/net.c", '#include "runtime/driver.h"\n', '#include "runtime/worker.h"\n'),
    ("layering", "io/net.c", '#include "io/ring.h"\n', "#include <liburing.h>\n"),
    ("layering", "io/examples/a/a.c", "#include <bonxie/net.h>\n", '#include "runtime/os.h"\n'),
    ("layering", "bench/runtime/a.cc", "#include <bonxie/net.h>\n", '#include "runtime/os.h"\n'),
    ("layering", "runtime/include/bonxie/a.h", "#include <bonxie/b.h>\n", '#include "runtime/os.h"\n'),
    ("layering", "runtime/include/bonxie/a.h", "#include <stdint.h>\n", "static _Thread_local int a;\n"),
    ("layering", "tests/unit/x.c", '#include "runtime/worker.h"\n', '#include "runtime/worker.c"\n'),
    ("headers", "runtime/include/bonxie/a.h", "#include <stddef.h>\nsize_t bnx_a(void);\n",
     "size_t bnx_a(void);\n"),
    ("headers", "io/include/bonxie/a.h", "struct a;\n", "struct a { int class; };\n"),
    ("format", "runtime/x.c", SPDX + "int a;\n", SPDX + "int  a;\n"),
    ("paths", "README.md", "run ./tests/run\n", f"run {MACHINE}\n"),
    ("spdx", "runtime/x.c", SPDX, "int a;\n"),
    ("spdx", "tests/run", "#!/bin/sh\n# SPDX-License-Identifier: MIT\n", "#!/bin/sh\n"),
    ("words", "runtime/x.c", "/* to be done */\n", f"/* {UNFINISHED} */\n"),
    ("layering", "runtime/task.c", '#include "runtime/runq.h"\n', '#include "runtime/wait_once.h"\n'),
    ("levels", "runtime/README.md", "    L0: os rng\n", "    L0: os\n"),
    ("levels", "runtime/README.md", "    L0: os rng\n", "    L0: os\n    L1: rng\n"),
    ("maps", "runtime/README.md", "x.c y.h\n", "x.c\n"),
    ("plants", "tests/plants.txt", "rule a.b plants\n", "\n"),
    ("plants", "tests/plants.txt", "rule a.b plants\n", "rule a.b plants\nother a.b plants\n"),
    ("plants", "tests/plants.txt", "rule a.b plants\n", "rule a.c plants\n"),
    ("plants", "tests/plants.txt", "rule a.b plants\n", "rule a.b\n"),
    ("suspends", "runtime/include/bonxie/a.h", SUSPENDS.format("suspends"), SUSPENDS.format("may suspend")
     .replace("bnx_a", "bnx_c")),
    ("suspends", "runtime/include/bonxie/a.h", SUSPENDS.format("suspends"),
     SUSPENDS.format("suspends") + "/** Waits for b. */\nBNX_API int bnx_c(void);\n"),
    ("suspends", "tests/matrix/exempt.txt", "bnx_b blocks a thread\n", "bnx_b\n"),
    ("suspends", "tests/matrix/exempt.txt", "bnx_b blocks a thread\n",
     "bnx_b blocks a thread\nbnx_a has a row\n"),
]

# What a rule needs beside the file of the case.
NEIGHBOURS = {
    "levels": {"runtime/README.md": "    L0: os rng\n", "runtime/os.h": SPDX, "runtime/rng.h": SPDX},
    "maps": {"runtime/x.c": SPDX, "runtime/y.h": SPDX},
    "suspends": {
        "io/include/bonxie/b.h": "/** Suspends. */\nBNX_API int bnx_b(void);\n",
        "runtime/include/bonxie/a.h": SUSPENDS.format("suspends"),
        "tests/matrix/exempt.txt": "bnx_b blocks a thread\n",
        "tests/matrix/x.c": '    {"bnx_a", 1},\n',
    },
    "plants": {"runtime/z.c": "int a = BNX_PLANT(rule);\n", "tests/CMakeLists.txt": "CLAIMS a.b\n"},
}


def run_rule(rule, files):
    with tempfile.TemporaryDirectory() as root:
        with open(os.path.join(HERE, "../../.clang-format"), encoding="utf-8") as file:
            files = {".clang-format": file.read(), **files}
        for path, text in files.items():
            path = os.path.join(root, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return subprocess.run([sys.executable, os.path.join(HERE, "check.py"), rule], text=True,
                              env={**os.environ, "BONXIE_STYLE_ROOT": root}, capture_output=True,
                              check=False)


def main():
    failures = 0
    for rule, path, good, bad in CASES:
        for text, wanted in ((good, 0), (bad, 1)):
            run = run_rule(rule, {**NEIGHBOURS.get(rule, {}), path: text})
            if run.returncode == 77 and rule in ("format", "headers"):
                continue
            if run.returncode != wanted or (wanted and path not in run.stdout and rule != "plants"):
                failures += 1
                print(f"{rule} on {path}: exit {run.returncode}, not {wanted}, for\n{text[:400]}")
                print(run.stdout + run.stderr)
    print(f"{len(CASES)} cases, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
