# SPDX-License-Identifier: MIT
"""Every public function that suspends has a row in tests/matrix, or a reason why not."""

import re

import tree

HEADERS = ("runtime/include", "io/include")
ROWS = "tests/matrix"
EXEMPT = "tests/matrix/exempt.txt"

ITEM = re.compile(r"/\*\*(?P<doc>.*?)\*/|\bBNX_API\b[^;{]*?\b(?P<name>bnx_\w+)\([^;{]*[;{]|(?P<gap>\n\n)",
                  re.DOTALL)
ROW = re.compile(r'^\s*\{\s*"(bnx_\w+)"\s*,', re.MULTILINE)
# "Never suspends, unless ..." is a call that may.
NEVER = re.compile(r"\b(?:never suspends?(?!,? unless)|without waiting|never waits?)\b", re.IGNORECASE)
MAY = re.compile(r"\bsuspends?\b", re.IGNORECASE)
# The first function that the doc block refers to for the rest: "As bnx_x", "context as bnx_x".
LIKE = re.compile(r"\bas (?:with |for |in )?(bnx_\w+)", re.IGNORECASE)
# Words of a call that may take long: then the doc block has to say how.
UNCLEAR = re.compile(r"^(?:waits?|reads up|writes up|sends|receives|calls|runs|accepts|connects)\b"
                     r"|-ECANCELED\b", re.IGNORECASE)


def documented():
    """(path, name, doc) of each public function; functions in one block share its doc."""
    for path in tree.files((".h",), HEADERS):
        doc = ""
        for match in ITEM.finditer(tree.read(path)):
            if match["doc"] is not None:
                doc = " ".join(re.sub(r"\n\s*\*", " ", match["doc"]).split())
            elif match["name"]:
                yield path, match["name"], doc
            else:
                doc = ""


def kind_of(name, docs, seen=()):
    """True: it may suspend; False: it never does; None: the doc block does not say."""
    doc = docs[name]
    if NEVER.search(doc):
        return False
    if MAY.search(doc):
        return True
    for other in LIKE.findall(doc):
        if other in docs and other != name and other not in seen:
            return kind_of(other, docs, (*seen, name))
    return None if UNCLEAR.search(doc) else False


def exemptions():
    """name -> (line number, reason) of tests/matrix/exempt.txt."""
    found = {}
    for number, line in enumerate(tree.read(EXEMPT).splitlines(), 1):
        words = line.split("#")[0].split(None, 1)
        if words:
            found[words[0]] = (number, words[1] if len(words) > 1 else "")
    return found


def rows():
    names = set()
    for path in tree.files((".c",), (ROWS,)):
        names.update(ROW.findall(tree.without_comments(tree.read(path))))
    return names


def in_matrix():
    found = list(documented())
    docs = {name: doc for _, name, doc in found}
    named, exempt = rows(), exemptions()
    for path, name, _ in found:
        kind = kind_of(name, docs)
        if kind is None and name not in exempt:
            yield f"{path}: {name}: the doc block does not say whether it suspends"
        elif kind and name not in named and name not in exempt:
            yield f"{path}: {name} suspends and has neither a row in {ROWS} nor a line in {EXEMPT}"
        elif name in exempt and (name in named or kind is False):
            yield f"{EXEMPT}:{exempt[name][0]}: {name} needs no exemption ({path})"
        elif name in named and not kind and not NEVER.search(docs[name]):
            yield f"{path}: {name} has a row in {ROWS}, but its doc block does not say that it suspends"
    for name, (number, reason) in sorted(exempt.items()):
        if name not in docs:
            yield f"{EXEMPT}:{number}: no function {name}"
        if not reason:
            yield f"{EXEMPT}:{number}: {name} has no reason"
    yield from (f"{ROWS}: no function {name}" for name in sorted(named - set(docs)))
