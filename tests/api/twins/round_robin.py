# SPDX-License-Identifier: MIT
"""A scheduler made of generators, round robin."""

from collections import deque


class Scheduler:
    def __init__(self, is_verbose=False):
        self.queue = deque()
        self.results = {}
        self.errors = {}
        self.is_verbose = is_verbose
        self.task_count = 0

    def add(self, generator):
        self.queue.append((self.task_count, generator))
        self.task_count += 1

    def say(self, *text, end="\n"):
        if self.is_verbose:
            print(*text, end=end)

    def run(self):
        while self.queue:
            number, generator = self.queue.popleft()
            self.say("Running task", number, "...", end="")
            try:
                next(generator)
            except StopIteration as stop:
                self.say("completed with result:", stop.value)
                self.results[number] = stop.value
            except LookupError as error:
                self.say("failed")
                self.errors[number] = error
            else:
                self.say("now yielded")
                self.queue.append((number, generator))


def countdown(n):
    while n > 0:
        print("T-minus", n)
        yield
        n -= 1
    print("Blast off!")


def countup(end):
    for n in range(end):
        print("Counting up", n)
        yield


def lucas():
    a, b = 2, 1
    while len(str(a)) <= 12:
        yield a
        a, b = b, a + b


def search(digits):
    for number in lucas():
        if len(str(number)) == digits:
            return number
        yield
    raise LookupError("not found")


counters = Scheduler()
counters.add(countdown(10))
counters.add(countdown(5))
counters.add(countup(15))
counters.run()

searches = Scheduler(is_verbose=True)
for digits in 6, 7, 9, 30:
    searches.add(search(digits))
searches.run()
for number in range(searches.task_count):
    print(f"task {number}:", searches.results.get(number, searches.errors.get(number)))
