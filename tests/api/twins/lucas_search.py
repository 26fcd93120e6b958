# SPDX-License-Identifier: MIT
"""An endless generator of Lucas numbers, searched lazily."""

from itertools import islice


def lucas():
    a, b = 2, 1
    while True:
        yield a
        a, b = b, a + b


for number in islice(lucas(), 10):
    print(number)
print(next(number for number in lucas() if len(str(number)) == 6))
