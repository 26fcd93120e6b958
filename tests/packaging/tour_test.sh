#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# tour_test.sh LIBRARY PYTHON: the ten programs of the tour in README.md compile as strict C11 without a
# warning, run with the built shared library, and print what stands below each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

library=$1
python=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" - "$work" <<'SOURCE'
import re
import sys

readme = open("README.md", encoding="utf-8").read()
tour = re.search(r"^## A tour$(.*?)^## ", readme, re.MULTILINE | re.DOTALL)[1]
pairs = re.findall(r"^```c\n(.*?)^```\n```text\n(.*?)^```$", tour, re.MULTILINE | re.DOTALL)
if len(pairs) != 10 or tour.count("```") != 4 * len(pairs):
    sys.exit(f"the tour has {len(pairs)} programs with what they print, not 10")
for number, (program, output) in enumerate(pairs, 1):
    for suffix, text in (("c", program), ("expected", output)):
        with open(f"{sys.argv[1]}/{number}.{suffix}", "w", encoding="utf-8") as file:
            file.write(text)
SOURCE

for number in {1..10}; do
    cc -std=c11 -Wall -Wextra -Werror -Iruntime/include -o "$work/$number" \
        "$work/$number.c" "$library" "-Wl,-rpath,$(dirname "$library")"
    "$work/$number" >"$work/$number.printed"
    if ! diff "$work/$number.expected" "$work/$number.printed"; then
        echo "program $number of the tour prints something else"
        exit 1
    fi
done
echo "the ten programs of the tour print what README.md says"
