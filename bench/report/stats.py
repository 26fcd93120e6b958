# SPDX-License-Identifier: MIT
"""Medians, their intervals, and when a difference is one.

The interval of a median is taken from order statistics: of n independent values, the median of what
they are drawn from lies between the k-th smallest and the k-th largest with a probability that only
counts coin tosses, 1 - 2 P(fewer than k of n are heads). No distribution is assumed, and nothing is
drawn at random: the same values give the same interval. k is the largest for which that is 95 % or
more; with fewer than six values there is none, and the interval, from the smallest to the largest,
is worth less than 95 %.

The noise floor of a row is how far ourselves against ourselves, measured as two competitors are,
may be from 1 by the same interval. No difference smaller than that is called one.
"""

import math
from dataclasses import dataclass

CONFIDENCE = 0.95

WIN, TIE, LOSS, NONE = "win", "tie", "LOSS", "-"


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def quantile(values, part):
    """By linear interpolation between the two nearest."""
    ordered = sorted(values)
    at = part * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def coverage(n, k):
    """How probably the median lies between the k-th smallest and the k-th largest of n."""
    return 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n


@dataclass(frozen=True)
class Estimate:
    median: float
    low: float
    high: float
    count: int
    coverage: float  # of [low, high]

    @property
    def is_certain(self):
        return self.coverage >= CONFIDENCE


def estimate(values):
    """Of at least one value."""
    ordered = sorted(values)
    n = len(ordered)
    k = 1
    while 2 * (k + 1) <= n and coverage(n, k + 1) >= CONFIDENCE:
        k += 1
    return Estimate(median(ordered), ordered[k - 1], ordered[n - k], n, coverage(n, k))


def ratios(ours, theirs):
    """Of what the same round has measured; both are round -> value."""
    return [ours[at] / theirs[at] for at in sorted(ours.keys() & theirs.keys()) if theirs[at] > 0]


def noise_floor(again):
    """The estimate of ourselves / ourselves -> the part of 1 below which there is no difference."""
    return max(again.high, 1 / again.low if again.low > 0 else math.inf, 1) - 1


def verdict(ratio, floor):
    """Of ours / theirs, less is better; a floor of None means that it was not measured."""
    if floor is None:
        return TIE
    if ratio.high < 1 and ratio.median * (1 + floor) < 1:
        return WIN
    if ratio.low > 1 and ratio.median > 1 + floor:
        return LOSS
    return TIE
