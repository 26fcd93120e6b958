# SPDX-License-Identifier: MIT
"""Shared words are touched through runtime/atomic.h alone, and each ordered access names its edge."""

import re

import tree

RAW = re.compile(r"memory_order_|__atomic_|\b__sync_|stdatomic\.h|\b_Atomic\b|\bck_pr_")

# Files that may use raw atomics, each with its reason.
RAW_EXCEPTIONS = {
    "runtime/atomic.h": "it is the place",
    "runtime/check.c": "the look-up of plants must not pass a yield point of the simulator",
}

# Files whose ordered accesses carry no tag, each with its reason.
EDGE_EXCEPTIONS = {
    "runtime/atomic.h": "it defines the operations",
    "runtime/os.c": "it defines the heavy barrier",
}

ORDERED = re.compile(
    r"\bbnx_(?:(?:load|store|exchange|fetch_add|fetch_sub|fetch_or|fetch_and|cas)"
    r"_(?:acquire|release|acq_rel|seq_cst)|(?:load|store)_light|heavy_barrier)\s*\("
)
TAG = re.compile(r"/\*+\s*([A-Z]{1,3}\d+(?:[,/ ]+[A-Z]{1,3}\d+)*)\b")
# In an Ordering section: " *   E1 publish: ...", or "E1: ..." within a line of it.
DEFINED = re.compile(
    r"^\s*\*\s+((?:[A-Z]{1,3}\d+[,/ ]*)+)[:.]?\s*(?!\*/)[\w(]|^\s*\*.*?\b([A-Z]{1,3}\d+): \w",
    re.MULTILINE,
)
ONE_TAG = re.compile(r"[A-Z]{1,3}\d+")


def library():
    return tree.files((".c", ".h"), ("runtime", "io"))


def only_in_atomic_h():
    for path in library():
        if path in RAW_EXCEPTIONS or "/examples/" in path:
            continue
        for number, line in enumerate(tree.code_only(tree.read(path)).splitlines(), 1):
            if RAW.search(line):
                yield f"{path}:{number}: raw atomics belong into runtime/atomic.h"


def statement(code, at):
    """The lines (first, last) of the statement around line `at`, from 0."""
    first = last = at
    while first > 0 and not re.search(r"[;{}:]\s*\\?$|^\s*#|^\s*$", code[first - 1]):
        first -= 1
    while last + 1 < len(code) and not re.search(r"[;{}]\s*\\?$", code[last]):
        last += 1
    return first, last


def comment_above(comments, code, first):
    """The first line of the comment that ends directly above line `first`, or `first`."""
    while first > 0 and comments[first - 1].strip() and not code[first - 1].strip():
        first -= 1
    return first


def edges():
    """Each ordered access carries a tag, and the file's Ordering section, or a neighbour's, has it."""
    defined = set()
    for path in library():
        for match in DEFINED.finditer(tree.comments_only(tree.read(path))):
            defined.update(ONE_TAG.findall(match[1] or match[2]))
    for path in library():
        if path in EDGE_EXCEPTIONS or "/examples/" in path:
            continue
        text = tree.read(path)
        code = tree.code_only(text).splitlines()
        comments = tree.comments_only(text).splitlines()
        for at, line in enumerate(code):
            if not ORDERED.search(line):
                continue
            first, last = statement(code, at)
            if last + 1 < len(code) and not code[last + 1].strip():
                last += 1
            lines = comments[comment_above(comments, code, first):last + 1]
            tags = [tag for match in TAG.finditer("\n".join(lines))
                    for tag in ONE_TAG.findall(match[1])]
            if not tags:
                yield f"{path}:{at + 1}: an ordered access without the tag of its edge, /* E1 */"
            for tag in tags:
                if tag not in defined:
                    yield f"{path}:{at + 1}: edge {tag} is described in no Ordering section"
