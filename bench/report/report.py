#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Makes the report of what measure.py has written: report.py RAW_JSON DIRECTORY. And
report.py --table RAW_JSON prints the targets and what was reached, as Markdown.

index.html is complete in itself; report.txt says the same in text; each chart is a PNG as well
where matplotlib is installed.
"""

import json
import os
import sys

sys.dont_write_bytecode = True

import assess
import draw
import figures
import page
import twin

FORMAT = 1


def make(raw, out_dir, with_png=True):
    """Writes the report; returns the results."""
    if raw.get("format") != FORMAT:
        raise ValueError(f"raw record of format {raw.get('format')}, {FORMAT} is known")
    os.makedirs(out_dir, exist_ok=True)
    results = assess.assess(raw)
    found = figures.make(raw, results)
    write(os.path.join(out_dir, "report.txt"), twin.text(raw, results))
    write(os.path.join(out_dir, "index.html"), page.html_of(raw, results, found))
    for name in os.listdir(out_dir):
        if name.endswith(".png"):  # of an earlier report that had other rows
            os.unlink(os.path.join(out_dir, name))
    if with_png and draw.has_png():
        for figure in found:
            draw.png(figure.canvas, os.path.join(out_dir, figure.name + ".png"))
    return results


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    is_table = arguments[0] == "--table"
    with open(arguments[1 if is_table else 0], encoding="utf-8") as file:
        raw = json.load(file)
    if is_table:
        print(twin.table(raw, assess.assess(raw)))
        return 0
    results = make(raw, arguments[1])
    print(twin.summary(results))
    print(os.path.join(arguments[1], "index.html"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
