# SPDX-License-Identifier: MIT
"""Runs potatoes, potatoes_sync and async_context: shop_examples.py CASE PROGRAM.

What they print, their help and refused flags. The case racy needs a build for ThreadSanitizer: that
must find the race in potatoes without a guard, where a buyer takes, and none with a strand or a mutex.
"""

import os
import re
import sys

from program import check_flags, require, run

GOT = re.compile(r"Got (potato|tomato) (\d+)")
SUM = re.compile(r"(\d+) came, (\d+) potatoes and (\d+) tomatoes are in the basket, (\d+) left")


def check_sales(printed, shelf, take):
    """Each buyer has taken his share, no piece was sold twice, and the sum is right."""
    code, out, err = printed
    require(code == 0 and err == "", "it exits with 0", printed)
    *lines, last = out.splitlines()
    sales = [GOT.fullmatch(line) for line in lines]
    require(all(sales), "each line but the last is a sale", out)
    words = [sale.group(1) for sale in sales]
    require(words.count("potato") == take and words.count("tomato") == take,
            f"each buyer gets {take}", out)
    numbers = sorted(int(sale.group(2)) for sale in sales)
    require(numbers == list(range(1, 2 * take + 1)), "each piece is sold once", out)
    came, potatoes, tomatoes, left = map(int, SUM.fullmatch(last).groups())
    require(potatoes == take and tomatoes == take, "the basket holds both shares", last)
    require(came == 2 * take + left and came >= shelf, "what came was sold or is left", last)
    return words, came


def potatoes(program):
    for workers in ("1", "2", "0"):
        common = ["--workers", workers, "--seconds", "0.002"]
        words, _ = check_sales(run(program, *common), 5, 50)
        require(workers != "1" or all(a != b for a, b in zip(words[:4], words[1:5])),
                "on a strand and one worker they take turns until the shelf is empty", words)
        small = common + ["--shelf", "2", "--take", "10", "--refill", "3", "--seed", "7"]
        for guard in ("strand", "mutex"):
            check_sales(run(program, *common, "--guard", guard), 5, 50)
            _, came = check_sales(run(program, *small, "--guard", guard), 2, 10)
            require(came % 3 == 2, "two, and three at a time", came)
    check_flags(program, ("--shelf", "--take", "--refill", "--guard", "--seconds", "--workers"),
                (["--guard", "both"], ["--take", "-1"], ["--take", "x"], ["--seconds"],
                 ["--unknown"], ["surplus"]))


def racy(program):
    environment = dict(os.environ, TSAN_OPTIONS="halt_on_error=1:exitcode=66")
    order = ["--workers", "3", "--take", "1000", "--seconds", "0.0001"]
    for guard in ("strand", "mutex"):
        printed = run(program, *order, "--guard", guard, environment=environment)
        check_sales(printed, 5, 1000)
    for _ in range(20):  # on a busy machine the buyers may happen to come one after the other
        code, _, err = run(program, *order, "--guard", "none", environment=environment)
        if code != 0:
            break
    require(code == 66 and "data race" in err and re.search(r"in (take_guarded|ask_for_more)", err),
            "without a guard ThreadSanitizer finds the race", (code, err))


NO_TAKE = """\
synchronous:
poll 1: the shelf is empty
poll 2: the shelf is empty
poll 3: the shelf is empty
gives up after 3 polls: nobody can fill the shelf while this function runs
by hand:
got a potato; the other task had no turn meanwhile
the other task has its turn
"""


def potatoes_sync(program):
    code, out, err = run(program)
    require(code == 0 and err == "", "it exits with 0", (code, err))
    require(out.startswith(NO_TAKE), f"prints {NO_TAKE}", out)
    require(re.fullmatch(r"log: worker 0 stalled for \d+ ms by task \d+ sleeper .*\n",
                         out[len(NO_TAKE):]), "the stall detector names the sleeper", out)
    check_flags(program, ("--help",), (["--unknown"], ["surplus"]))


GAMES = """\
game loading...
game start...
game time: 2.0
game exit...
saved
game loading...
game start...
game exit... Input/output error
saved
crashed: Input/output error
game loading...
game start...
game exit... Operation canceled
saved
cancelled: Operation canceled
a query: 1 of 1 in use
a query: 1 of 1 in use
after it: 0 of 1 in use
entering context
body
exiting context
finished
"""


def async_context(program):
    for workers in ("1", "2", "0"):
        printed = run(program, "--seconds", "0.01", "--workers", workers)
        require(printed == (0, GAMES, ""), "each game is left", printed)
    check_flags(program, ("--seconds", "--workers"),
                (["--seconds", "x"], ["--workers", "x"], ["--unknown"], ["surplus"]))


if __name__ == "__main__":
    {"potatoes": potatoes, "racy": racy, "potatoes_sync": potatoes_sync,
     "async_context": async_context}[sys.argv[1]](sys.argv[2])
