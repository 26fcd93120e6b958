# SPDX-License-Identifier: MIT
"""A search and a message by turns, by a clock that counts turns."""

TURN_MS = 5
MESSAGE_MS = 250

clock_ms = 0


def sleep(duration_ms):
    until_ms = clock_ms + duration_ms
    while clock_ms < until_ms:
        yield


def repeat_message():
    while True:
        print("still searching")
        yield from sleep(MESSAGE_MS)


def is_prime(number):
    divisor = 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            return False
        yield
        divisor += 1
    return number >= 2


def lucas():
    a, b = 2, 1
    while True:
        yield a
        a, b = b, a + b


def search(numbers, predicate, limit):
    for number in numbers:
        if number >= limit:
            return
        if (yield from predicate(number)):
            print("Found:", number)


message = repeat_message()
searcher = search(lucas(), is_prime, 10000)
while True:
    next(message)
    try:
        next(searcher)
    except StopIteration:
        break
    clock_ms += TURN_MS
