# SPDX-License-Identifier: MIT
"""Greps in files with generators, pulled or pushed.

grep.py pull|push [-r] FROM TO PATTERN GLOB PLACE...: matches FROM to TO, which may be "all".
"""

import bz2
import fnmatch
import functools
import gzip
import itertools
import os
import re
import stat
import sys


# What both share.

def find(glob, places, is_recursive):
    paths = []
    for place in places:
        for directory, below, names in os.walk(os.fsencode(place), followlinks=True):
            if not is_recursive:
                below.clear()
            paths += (os.path.join(directory, name) for name in names if fnmatch.fnmatchcase(name, glob))
    return sorted(path for path in paths if stat.S_ISREG(os.stat(path).st_mode))


def open_file(path):
    if path.endswith(b".gz"):
        return gzip.open(path)
    return bz2.open(path) if path.endswith(b".bz2") else open(path, "rb")


def lines_of(path, file):
    try:
        for line in file:
            yield path, line.removesuffix(b"\n").removesuffix(b"\r")
    except (OSError, EOFError) as error:
        print(f"{os.fsdecode(path)}: {error}", file=sys.stderr)


def write(path, line):
    sys.stdout.buffer.write(path + b": " + line + b"\n")


# Pulled: each stage asks the one before it.

def open_files(paths):
    for path in paths:
        with open_file(path) as file:
            yield path, file


def cat(files):
    for path, file in files:
        yield from lines_of(path, file)


def grep(pattern, lines):
    return ((path, line) for path, line in lines if pattern.search(line))


def pull(paths, pattern, first, last):
    matches = grep(pattern, cat(open_files(paths)))
    for path, line in itertools.islice(matches, first - 1, last):
        write(path, line)


# Pushed: each stage sends to the one behind it, until that has had enough.

def primed(function):
    @functools.wraps(function)
    def start(*arguments):
        generator = function(*arguments)
        next(generator)
        return generator
    return start


def send(target, value):
    """Returns whether the target takes more."""
    try:
        target.send(value)
    except StopIteration:
        return False
    return True


@primed
def file_opener(target):
    while True:
        path = yield
        with open_file(path) as file:
            if not send(target, (path, file)):
                return


@primed
def catter(target):
    while True:
        path, file = yield
        for item in lines_of(path, file):
            if not send(target, item):
                return


@primed
def grepper(pattern, target):
    while True:
        path, line = yield
        if pattern.search(line) and not send(target, (path, line)):
            return


@primed
def slicer(first, last, target):
    number = 0
    while number != last:
        item = yield
        number += 1
        if number >= first and not send(target, item):
            return


@primed
def printer():
    while True:
        write(*(yield))


def push(paths, pattern, first, last):
    target = file_opener(catter(grepper(pattern, slicer(first, last, printer()))))
    for path in paths:
        if not send(target, path):
            return


if __name__ == "__main__":
    kind, *words = sys.argv[1:]
    is_deep = words[0] == "-r"
    begin, end, expression, names_glob, *where = words[is_deep:]
    {"pull": pull, "push": push}[kind](
        find(os.fsencode(names_glob), where, is_deep), re.compile(os.fsencode(expression)), int(begin),
        None if end == "all" else int(end))
