# SPDX-License-Identifier: MIT
"""What every file says and does not say."""

import re

import tree

SPDX = "SPDX-License-Identifier: MIT"
# Absolute paths of somebody's machine.
MACHINE_PATH = re.compile(r"(?<![\w.}$)-])/(?:home|root|work|Users)/\w")
# Words of unfinished work; split, so that this file does not find itself.
UNFINISHED = re.compile(
    r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|\b(?i:st" + r"ubs?|st" + r"ubbed)\b"
    r"|\bnot (?:yet )?implem" + r"ented\b"
)
# Files in which such a word means something else, each with its reason.
UNFINISHED_EXCEPTIONS = {
    "runtime/mpscq.h": "the algorithm's own name for its resident node",
    "tests/unit/mpscq_test.c": "as runtime/mpscq.h",
}


def spdx():
    for path in tree.files():
        first = "\n".join(tree.read(path).splitlines()[:3])
        if path.endswith(tree.C_SUFFIXES):
            if first.split("\n")[0] != f"/* {SPDX} */":
                yield f"{path}:1: the first line is not /* {SPDX} */"
        elif path.endswith((".py", ".sh")) or first.startswith("#!"):
            if SPDX not in first:
                yield f"{path}:1: no {SPDX} in the first three lines"


def comments():
    for path in tree.files((".c", ".h", ".cc")):
        text = tree.comments_only(tree.read(path))
        # A URL inside a block comment is no line comment.
        for number, line in enumerate(re.sub(r"/\*.*?\*/", keep_lines, text, flags=re.S).splitlines(), 1):
            if "//" in line:
                yield f"{path}:{number}: comments are /* */ only"


def keep_lines(match):
    return re.sub(r"[^\n]", " ", match[0])


def paths():
    for path in tree.files():
        for number, line in enumerate(tree.read(path).splitlines(), 1):
            if MACHINE_PATH.search(line):
                yield f"{path}:{number}: a path of one machine"


def words():
    for path in tree.files():
        if path in UNFINISHED_EXCEPTIONS:
            continue
        for number, line in enumerate(tree.read(path).splitlines(), 1):
            if UNFINISHED.search(line):
                yield f"{path}:{number}: a word of unfinished work"
