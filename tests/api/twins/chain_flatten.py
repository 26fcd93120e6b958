# SPDX-License-Identifier: MIT
"""Generators that give what other generators give."""


def chain_by_hand(*iterables):
    for iterable in iterables:
        for item in iterable:
            yield item


def chain_by_delegation(*iterables):
    for iterable in iterables:
        yield from iterable


def flatten(items):
    for item in items:
        if isinstance(item, list):
            yield from flatten(item)
        else:
            yield item


nested = [1, 2, [3, 4, [5, 6], 7], 8, "abc", "defg", ["hij", "klmn"]]
for generator in chain_by_hand("ABC", range(3)), chain_by_delegation("ABC", range(3)), flatten(nested):
    for item in generator:
        print(item)
