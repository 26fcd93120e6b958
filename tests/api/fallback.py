# SPDX-License-Identifier: MIT
"""What the tests of programs share where the machine refuses io_uring."""

import re

LINE = re.compile(r"^bonxie: uring is refused \([^)]*\): all workers use epoll\n", re.MULTILINE)


def without_fallback(text):
    """A program's stderr without the line that says so."""
    return LINE.sub("", text)
