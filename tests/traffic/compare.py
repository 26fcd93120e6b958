#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds what the hot paths cost in cache traffic against a table: compare.py PROGRAM TABLE [--update]

PROGRAM is tests/traffic/paths.c; it and TABLE have a line "path workers locked contended" for each
path. With one worker the counts are those of the code, and one more is one too many. With several
they are the mean of some interleavings, which any change of the code exchanges for others: more than
a quarter of an access, and a twentieth, is a regression. What takes so much less has improved, and its
line should be lowered, lest the next regression hides in the gap. --update writes the table.

Exits with 1 after a regression, or when paths and lines differ.
"""

import subprocess
import sys

COLUMNS = ("locked", "contended")
HEADING = """\
# Locked instructions and contended writes of one operation; written by compare.py --update.
# path           workers   locked contended
"""


def parse(text):
    """{(path, workers): {column: count}}, in the order of the lines."""
    rows = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            path, workers, *counts = line.split()
            rows[path, int(workers)] = dict(zip(COLUMNS, map(float, counts), strict=True))
    return rows


def tolerance(workers, expected):
    return 0.05 if workers == 1 else 0.25 + expected / 20


def compare(measured, expected):
    """Prints all rows; returns how many are wrong."""
    wrong = 0
    for key in sorted(set(measured) ^ set(expected)):
        print(f"{key[0]} {key[1]}: " + ("not in the table" if key in measured else "not measured"))
        wrong += 1
    for key in [key for key in measured if key in expected]:
        for column in COLUMNS:
            is_now, was = measured[key][column], expected[key][column]
            verdict = ""
            if is_now > was + tolerance(key[1], was):
                verdict = "MORE"
                wrong += 1
            elif is_now < was - tolerance(key[1], was):
                verdict = "less: lower its line"
            print(f"{key[0]:<16} {key[1]} {column:<10}{was:8.2f}{is_now:8.2f}  {verdict}".rstrip())
    return wrong


def main(arguments):
    should_update = arguments[2:] == ["--update"]
    if len(arguments) != 2 and not should_update:
        print(__doc__, file=sys.stderr)
        return 2
    program, table = arguments[:2]
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"{program}: exit {done.returncode}\n{done.stderr}")
        return 1
    if should_update:
        with open(table, "w", encoding="utf-8") as file:
            file.write(HEADING + done.stdout)
        return 0
    with open(table, encoding="utf-8") as file:
        return 1 if compare(parse(done.stdout), parse(file.read())) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
