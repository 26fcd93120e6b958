#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Adds up the results of several ctest runs; the last line is "N passed, N failed, N skipped"."""

import argparse
import fnmatch
import os
import sys
import xml.etree.ElementTree as tree


def read_junit(path):
    """Yields (verdict, test, build, reason) for each test of one ctest run."""
    build = os.path.basename(os.path.dirname(path))
    try:
        cases = tree.parse(path).getroot().iter("testcase")
    except (OSError, tree.ParseError) as error:
        yield "failed", "results." + build, build, f"ctest left no results: {error}"
        return
    for case in cases:
        name, status = case.get("name"), case.get("status")
        skipped = case.find("skipped")
        if status == "run":
            yield "passed", name, build, ""
        elif skipped is not None and skipped.get("message") == "SKIP_RETURN_CODE=77":
            yield "skipped", name, build, reason_of(case)
        elif status == "disabled":
            yield "skipped", name, build, "disabled"
        else:
            failure = case.find("failure")
            node = failure if failure is not None else skipped
            message = node.get("message") if node is not None else status
            yield "failed", name, build, message or "see its output above"


def reason_of(case):
    for line in (case.findtext("system-out") or "").splitlines():
        if line.startswith("skipped: "):
            return line[len("skipped: "):]
    return "no reason given"


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [line.split("#")[0].strip() for line in file if line.split("#")[0].strip()]


def read_allowed(path):
    """The pairs (test, pattern of builds) that may skip in CI."""
    allowed = []
    for line in read_lines(path):
        fields = line.split(None, 2)
        if len(fields) < 3:
            sys.exit(f"{path}: a line needs test, build and reason: {line}")
        allowed.append((fields[0], fields[1]))
    return allowed


def is_allowed(allowed, claim, build):
    return any(test == claim and fnmatch.fnmatch(build, pattern) for test, pattern in allowed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", required=True, help="lines: verdict test build reason")
    parser.add_argument("--lists", required=True, help="lines: the path of a JUnit file")
    parser.add_argument("--skips", required=True)
    options = parser.parse_args()

    results = [tuple(line.split(None, 3)) for line in read_lines(options.extra)]
    for path in read_lines(options.lists):
        results += read_junit(path)

    allowed = read_allowed(options.skips)
    is_strict = os.environ.get("CI") == "true"
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for verdict, test, build, reason in results:
        claim = test.removeprefix("epoll.")
        if verdict == "skipped" and is_strict and not is_allowed(allowed, claim, build):
            verdict, reason = "failed", f"skipped without a line in {options.skips}: {reason}"
        counts[verdict] += 1
        if verdict != "passed":
            print(f"{verdict} {test} ({build}): {reason}")
    if not results:
        print("failed: no test ran")
        counts["failed"] = 1
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
