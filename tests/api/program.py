# SPDX-License-Identifier: MIT
"""What the tests of example programs share: a run, a claim about it, and its command line."""

import re
import subprocess
import sys

from fallback import without_fallback


STALL = re.compile(r"^.* stalled for .*\n", re.MULTILINE)


def require(condition, claim, actual):
    if not condition:
        sys.exit(f"{claim}, but: {actual!r}")


def own_words(text):
    """A program's stderr without what bonxie says of the machine: no io_uring, or too busy."""
    return STALL.sub("", without_fallback(text))


def run(*command, environment=None):
    """Returns the exit status, what was printed, and what was said on stderr."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stdout, own_words(done.stderr)


def check_flags(program, flags, wrong):
    """--help names the flags, and what is wrong is refused."""
    code, out, _ = run(program, "--help")
    require(code == 0 and all(flag in out for flag in flags), f"--help names {flags}", out)
    for arguments in wrong:
        code, out, message = run(program, *arguments)
        require(code == 2 and message and not out, f"{arguments} exits with 2 and says why",
                (code, out, message))
