#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Checks one rule of the source tree: check.py RULE [ARGUMENT...]; check.py --list names the rules.

A rule is a function that yields "path:line: what is wrong"; none means that the rule holds. It exits
77 when a tool that it needs is absent.
"""

import sys

sys.dont_write_bytecode = True

import atomics
import claims
import headers
import layering
import sizes
import suspends
import text

RULES = {
    "atomics": atomics.only_in_atomic_h,
    "claims": claims.listed,
    "comments": text.comments,
    "edges": atomics.edges,
    "file_sizes": sizes.file_sizes,
    "format": headers.formatted,
    "function_sizes": sizes.function_sizes,
    "headers": headers.compile_alone,
    "layering": layering.layering,
    "levels": layering.levels,
    "maps": layering.maps,
    "paths": text.paths,
    "plants": claims.plants,
    "spdx": text.spdx,
    "suspends": suspends.in_matrix,
    "words": text.words,
}


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(RULES))
        return 0
    if not arguments or arguments[0] not in RULES:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        problems = list(RULES[arguments[0]](*arguments[1:]))
    except headers.ToolAbsent as absent:
        print(f"skipped: {absent}")
        return 77
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
