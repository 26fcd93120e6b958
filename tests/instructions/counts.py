#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts the instructions of the hottest paths and compares them: counts.py PROGRAM TABLE [--update]

PROGRAM is tests/instructions/paths.c, run under callgrind; TABLE has a line "path instructions" for
each path, measured with the compiler that it is named after. A path that takes over 3 % more than its
line says is a regression; one that takes over 3 % less has improved, and its line should be lowered,
lest the next regression hides in the gap. --update writes the table, or a new one.

Exits with 1 after a regression, or when paths and lines differ; with 77 when there is no valgrind or
no table.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOLERANCE = 0.03
TRIGGER = re.compile(r"^desc: Trigger: Client Request: (\w+) (\d+)$", re.MULTILINE)
TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def run(program, folder):
    """Runs all paths under callgrind; its dumps are in the folder then."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        skip("no valgrind")
    command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={folder}/dump", program]
    # An empty environment: BONXIE_* would change the machine, the others move the first stack.
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")


def measure(program):
    """The instructions of one operation of each path, in the program's order."""
    totals = {}
    with tempfile.TemporaryDirectory() as folder:
        run(program, folder)
        for dump in sorted(glob.glob(f"{folder}/dump.*"), key=lambda name: int(name.split(".")[-1])):
            with open(dump, encoding="utf-8") as file:
                text = file.read()
            trigger = TRIGGER.search(text)
            if trigger is not None:
                rounds = totals.setdefault(trigger.group(1), {})
                rounds[int(trigger.group(2))] = int(TOTALS.search(text).group(1))
    counts = {}
    for path, rounds in totals.items():
        few, many = sorted(rounds)
        counts[path] = (rounds[many] - rounds[few]) / (many - few)
    if not counts:
        sys.exit(f"{program}: no dump of a path")
    return counts


def read_table(name):
    with open(name, encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {path: float(count) for path, count in rows}


def write_table(name, counts):
    with open(name, "w", encoding="utf-8") as file:
        file.write("# Instructions of one operation; written by counts.py --update.\n")
        for path, count in counts.items():
            file.write(f"{path:<12}{count:8.1f}\n")


def compare(counts, table):
    """Prints all rows; returns how many are wrong."""
    wrong = 0
    print(f"{'path':<12}{'table':>9}{'now':>9}{'change':>9}")
    for path in list(counts) + [path for path in table if path not in counts]:
        expected, count = table.get(path), counts.get(path)
        if expected is None or count is None:
            verdict = "not in the table" if expected is None else "not measured"
            print(f"{path:<12}{'' if expected is None else expected:>9}"
                  f"{'' if count is None else round(count, 1):>9}  {verdict}")
            wrong += 1
            continue
        change = count / expected - 1
        verdict = ""
        if change > TOLERANCE:
            verdict = "  REGRESSION"
            wrong += 1
        elif change < -TOLERANCE:
            verdict = "  improved: lower the line (--update)"
        print(f"{path:<12}{expected:9.1f}{count:9.1f}{change:+9.1%}{verdict}")
    return wrong


def main(arguments):
    is_update = "--update" in arguments
    names = [argument for argument in arguments if argument != "--update"]
    if len(names) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    program, table = names
    if not is_update and not os.path.exists(table):
        skip(f"no table of this compiler's instructions, {os.path.basename(table)}")
    counts = measure(program)
    if is_update:
        write_table(table, counts)
    return 1 if compare(counts, read_table(table)) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
