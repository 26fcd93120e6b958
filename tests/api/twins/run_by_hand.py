# SPDX-License-Identifier: MIT
"""Generators that only have a result, driven by hand."""


def give_one():
    return 1
    yield


def give_two():
    return 2
    yield


def call_another():
    return (yield from give_two())


def run(generator):
    try:
        next(generator)
    except StopIteration as stop:
        print(stop.value)


run(give_one())
run(call_another())
