# SPDX-License-Identifier: MIT
"""A generator counts down, by next and by loops."""


def countdown(n):
    print("Count down from", n)
    while n > 0:
        yield n
        n -= 1


def take_two():
    numbers = countdown(10)
    print("created")
    print(next(numbers))
    print(next(numbers))


def loop_down_to(last):
    numbers = countdown(10)
    for n in numbers:
        print(n)
        if n == last:
            break
    numbers.close()
    try:
        next(numbers)
    except StopIteration:
        print("finished")


take_two()
loop_down_to(1)
loop_down_to(2)
print(sum(countdown(10)))
