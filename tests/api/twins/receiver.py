# SPDX-License-Identifier: MIT
"""Values are sent to a generator."""


def receiver():
    print("Ready to receive")
    try:
        while True:
            item = yield
            print("Got", item)
    except GeneratorExit:
        print("Receive done")


def primed(function):
    def start(*args):
        generator = function(*args)
        next(generator)
        return generator
    return start


first = receiver()
try:
    first.send("1")
except TypeError:
    print("not started yet")
next(first)
first.send("1")
first.send("2")
first.send("hello")

second = primed(receiver)()
second.send("hello, world!")
try:
    second.throw(RuntimeError("no more"))
except RuntimeError:
    print("the error came back")

first.close()
try:
    first.send("1")
except StopIteration:
    print("finished")
