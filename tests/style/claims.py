# SPDX-License-Identifier: MIT
"""CMake, the test programs and tests/plants.txt name the same tests and the same plants."""

import os
import re
import subprocess

import tree

TEST = re.compile(r'\bTEST\(\s*\w+,\s*"([^"]+)"\s*\)')
CLAIM = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
PLANT = re.compile(r"\bBNX_PLANT\(\s*(\w+)\s*\)")
BUILDS = ("plants", "asan", "tsan", "shrink", "sim")


def cmake_claims():
    """Every word of the tests' CMake files that looks like a claim."""
    names = set()
    for path in tree.files(("CMakeLists.txt", ".cmake"), ("tests",)):
        names.update(CLAIM.findall(re.sub(r"#.*", "", tree.read(path))))
    return names


def listed(built):
    """`built` is a file with a line "program claim" for each claim of this build."""
    with open(built, encoding="utf-8") as file:
        pairs = [line.split() for line in file if line.strip()]
    declared = {}
    for program, claim in pairs:
        declared.setdefault(program, set()).add(claim)
    for program, names in sorted(declared.items()):
        run = subprocess.run([program, "--list"], text=True, capture_output=True, check=False)
        if run.returncode != 0:
            yield f"{program} --list: {run.stderr.strip()}"
            continue
        there = set(run.stdout.split())
        base = os.path.basename(program)
        yield from (f"{base}: {name} is in the source but not in CMake" for name in sorted(there - names))
        yield from (f"{base}: {name} is in CMake but not in the source" for name in sorted(names - there))
    # The tests that this build leaves out, the simulator's for one.
    known = cmake_claims()
    for path in tree.files((".c",), ("tests",)):
        for name in TEST.findall(tree.without_comments(tree.read(path))):
            if not CLAIM.fullmatch(name):
                yield f"{path}: {name}: a claim is module.claim in lower case"
            elif name not in known:
                yield f"{path}: {name} is not in CMake"


def plants():
    """Each plant has a line, each line a plant and a test."""
    in_source = {}
    for path in tree.files((".c", ".h"), ("runtime", "io")):
        if path == "runtime/check.h":
            continue
        for name in PLANT.findall(tree.without_comments(tree.read(path))):
            in_source.setdefault(name, path)
    in_list = set()
    known = cmake_claims()
    for number, line in enumerate(tree.read("tests/plants.txt").splitlines(), 1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        where = f"tests/plants.txt:{number}"
        if len(fields) != 3:
            yield f"{where}: a line is: name test build"
            continue
        name, test, build = fields
        in_list.add(name)
        if build not in BUILDS:
            yield f"{where}: {build} is none of {', '.join(BUILDS)}"
        if test.removeprefix("epoll.") not in known:
            yield f"{where}: no test {test}"
        if name not in in_source:
            yield f"{where}: no BNX_PLANT({name}) in the source"
    for name, path in sorted(in_source.items()):
        if name not in in_list:
            yield f"{path}: BNX_PLANT({name}) has no line in tests/plants.txt"
