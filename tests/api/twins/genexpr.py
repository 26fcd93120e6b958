# SPDX-License-Identifier: MIT
"""A lazy filter over the numbers below 10000."""

for solution in (x for x in range(10000) if x * x == (x - 3) * (x + 4)):
    print(solution)
