# SPDX-License-Identifier: MIT
"""A generator is closed in the middle of its count."""


def countdown(n):
    print("Counting down from", n)
    try:
        while n > 0:
            yield n
            n -= 1
    except GeneratorExit:
        print("Only made it to", n)


numbers = countdown(5)
for number in numbers:
    print(number)
    if number == 3:
        numbers.close()
