# SPDX-License-Identifier: MIT
"""A consumer ends its producer."""


def consumer():
    while True:
        item = yield
        print(f"Got {item}!")
        if item == 3:
            print("I only want 3, 4 and 5")
            return


def produce(to, first):
    try:
        for n in range(first, 0, -1):
            to.send(n)
    except StopIteration:
        pass
    print("The end")


target = consumer()
next(target)
produce(target, 5)
