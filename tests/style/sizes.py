# SPDX-License-Identifier: MIT
"""How long a file and a function may be, and how wide a line."""

import re

import tree

SOURCE_LINES_MAX = 600
HEADER_LINES_MAX = 350
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100

# Longer by decision, each with its limit and reason.
FILE_EXCEPTIONS = {}
FUNCTION_EXCEPTIONS = {}


def file_sizes():
    for path in tree.files(tree.C_SUFFIXES):
        limit = HEADER_LINES_MAX if path.endswith(".h") else SOURCE_LINES_MAX
        limit = FILE_EXCEPTIONS.get(path, limit)
        lines = tree.read(path).splitlines()
        if len(lines) > limit:
            yield f"{path}: {len(lines)} lines, {limit} is the end"
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS_MAX:
                yield f"{path}:{number}: {len(line)} columns, {COLUMNS_MAX} is the end"


def function_sizes():
    """In formatted code a function is what stands between a line at column 0 that ends in ") {", or
    its continuation, and the next line that is "}"."""
    for path in tree.files((".c", ".h", ".cc")):
        opened = None
        for number, line in enumerate(tree.code_only(tree.read(path)).splitlines(), 1):
            if opened is None:
                if re.match(r"[A-Za-z_].*\(", line) and not line.rstrip().endswith((";", "\\")):
                    opened = number
                    name = re.search(r"(\w+)\s*\(", line)[1]
            elif line.startswith("}"):
                length = number - opened + 1
                if length > FUNCTION_EXCEPTIONS.get(f"{path}:{name}", FUNCTION_LINES_MAX):
                    yield f"{path}:{opened}: {name} has {length} lines, {FUNCTION_LINES_MAX} is the end"
                opened = None
            elif line.rstrip().endswith(";") and not line.startswith((" ", "\t")):
                opened = None
