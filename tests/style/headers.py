# SPDX-License-Identifier: MIT
"""What a tool says: public headers compile alone, and clang-format finds nothing to change."""

import os
import shutil
import subprocess

import tree

FORMATTED = (".c", ".h", ".cc")
FOLDERS = ("runtime/include", "io/include")
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Werror", "-fsyntax-only"]
MODES = (("-xc", "-std=c11", ("gcc", "clang")), ("-xc++", "-std=c++17", ("g++", "clang++")))


class ToolAbsent(Exception):
    """The tool that the rule needs is not installed."""


def compile_alone():
    """Each header, twice in one file, as strict C11 and C++17, with every compiler that is here."""
    paths = tree.files((".h",), FOLDERS)
    compilers = [name for mode in MODES for name in mode[2] if shutil.which(name)]
    if not compilers:
        raise ToolAbsent("no compiler is installed")
    includes = ["-I" + os.path.join(tree.ROOT, folder) for folder in FOLDERS]
    for path in paths:
        folder = next(folder for folder in FOLDERS if path.startswith(folder))
        line = f"#include <{os.path.relpath(path, folder)}>\n"
        for language, standard, names in MODES:
            for name in names:
                if name not in compilers:
                    continue
                run = subprocess.run([name, language, standard, *WARNINGS, *includes, "-"],
                                     input=line * 2, text=True, capture_output=True, check=False)
                if run.returncode != 0:
                    yield f"{path}: {name} {standard}:\n{run.stderr.strip()}"


def formatted():
    if not shutil.which("clang-format"):
        raise ToolAbsent("clang-format is not installed")
    version = subprocess.run(["clang-format", "--version"], text=True, capture_output=True, check=True)
    if " 14." not in version.stdout:
        raise ToolAbsent("clang-format 14 decides, here is " + version.stdout.strip())
    paths = [path for path in tree.files(FORMATTED)]
    if paths:
        run = subprocess.run(["clang-format", "--dry-run", "--Werror", *paths], cwd=tree.ROOT,
                             text=True, capture_output=True, check=False)
        yield from (line for line in run.stderr.splitlines() if "error:" in line)
