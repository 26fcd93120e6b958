# SPDX-License-Identifier: MIT
"""Runs the examples timer, spinner and ctrl_c: timer_examples.py NAME PROGRAM.

What they print, on a terminal where it matters, how they leave, their help and refused flags.
"""

import os
import pty
import signal
import subprocess
import sys

from program import check_flags, own_words, require, run

WRONG_SECONDS = (["--seconds", "x"], ["--seconds", "-1"], ["--seconds"], ["--workers", "x"],
                 ["--unknown"], ["surplus"])


def timer(program):
    for workers in ("1", "2", "0"):
        printed = run(program, "--seconds", "0.02", "--workers", workers)
        require(printed == (0, "Waiting 0.02s ...\n>>> Done\n", ""), "it waits and is done", printed)
    check_flags(program, ("--seconds", "--workers"), WRONG_SECONDS)


def read_terminal(terminal):
    """All that was written to a terminal, until its other side is closed."""
    text = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how a closed terminal says so
            part = b""
        if not part:
            return text.decode()
        text += part


def spinner(program):
    for workers in ("1", "2", "0"):
        terminal, other = pty.openpty()
        with subprocess.Popen([program, "--seconds", "0.35", "--workers", workers],
                              stdout=other) as child:
            os.close(other)
            text = read_terminal(terminal)
        os.close(terminal)
        require(child.returncode == 0, "it exits with 0", child.returncode)
        require(text.startswith("\r| thinking!"), "it spins from the begin", text)
        require("\r/ thinking!" in text, "it spins on", text)
        require(text.endswith("\r\x1b[KAnswer: 42\r\n"), "it blanks the line and answers", text)
        require(text.count("\x1b[K") == 1, "it blanks once", text)
    check_flags(program, ("--seconds", "--workers"), WRONG_SECONDS)


def start(program, *arguments):
    child = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
    line = child.stdout.readline()
    require("tasks sleep; press Ctrl-C" in line, "it says that they sleep", line)
    return child


def ctrl_c(program):
    for sleepers in ("0", "1", "5000"):
        with start(program, "--sleepers", sleepers) as child:
            if sleepers != "0":
                child.send_signal(signal.SIGINT)
            out, err = child.communicate()
        if sleepers == "0":
            require(child.returncode == 0, "without sleepers it ends", child.returncode)
            continue
        require(child.returncode == 130, "SIGINT exits with 130", child.returncode)
        require(out == f"cancelled: all {sleepers} have ended\n", "all have ended", out)
        require(own_words(err) == "", "nothing is left behind", err)
    with start(program, "--stubborn") as child:
        child.send_signal(signal.SIGINT)
        line = child.stdout.readline()
        require("all 1000 have ended" in line, "the sleepers end", line)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate()
    require(child.returncode == 130, "the second SIGINT exits with 130", child.returncode)
    require("second signal" in err and "stubborn" in err, "it dumps who is left", err)
    check_flags(program, ("--sleepers", "--stubborn"),
                (["--sleepers", "x"], ["--sleepers", "9999999"], ["--unknown"], ["surplus"]))


if __name__ == "__main__":
    {"timer": timer, "spinner": spinner, "ctrl_c": ctrl_c}[sys.argv[1]](sys.argv[2])
