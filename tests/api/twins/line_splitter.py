# SPDX-License-Identifier: MIT
"""A generator is sent lines and gives back their fields."""


def line_splitter(delimiter):
    print("Ready to split")
    result = None
    while True:
        line = yield result
        result = line.split(delimiter)


splitter = line_splitter(",")
print(next(splitter))
print("begin splitting")
for line in "A,B,C", "100, 200, 300":
    for field in splitter.send(line):
        print(field)
