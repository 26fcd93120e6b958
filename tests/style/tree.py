# SPDX-License-Identifier: MIT
"""The tree as the rules see it: its files, and C text with comments and strings told apart."""

import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
# The environment names another root in the rules' own test.
ROOT = os.environ.get("BONXIE_STYLE_ROOT") or os.path.dirname(os.path.dirname(HERE))
C_SUFFIXES = (".c", ".h", ".S", ".cc")
TEXT_SUFFIXES = C_SUFFIXES + (".py", ".sh", ".cmake", ".md", ".txt", ".json", ".in", ".pml")

_TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""",
    re.DOTALL,
)


def files(suffixes=TEXT_SUFFIXES, under=("",)):
    """Paths relative to the root, sorted; build trees, hidden folders and caches are left out."""
    found = []
    for top in under:
        for folder, folders, names in os.walk(os.path.join(ROOT, top)):
            if "CMakeCache.txt" in names:
                folders.clear()
                continue
            hidden_kept = (".ci",)
            folders[:] = [f for f in folders if is_source_folder(folder, f, hidden_kept)]
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), ROOT)
                if is_wanted(path, suffixes):
                    found.append(path)
    return sorted(set(found))


def is_source_folder(parent, name, hidden_kept):
    if os.path.normpath(parent) == os.path.normpath(ROOT) and name.startswith("build"):
        return False
    return name in hidden_kept or not (name.startswith(".") or name == "__pycache__")


def is_wanted(path, suffixes):
    if path.endswith(suffixes):
        return True
    # Scripts have no suffix: they are text when they open with #!.
    if suffixes is not TEXT_SUFFIXES or "." in os.path.basename(path):
        return False
    with open(os.path.join(ROOT, path), "rb") as file:
        return file.read(2) == b"#!"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def without_comments(text):
    """Comments become blanks; lines and columns stay."""
    return _TOKEN.sub(lambda m: _blank(m[0]) if m["comment"] else m[0], text)


def code_only(text):
    """Comments and the insides of strings become blanks; lines and columns stay."""
    def cover(match):
        if match["comment"]:
            return _blank(match[0])
        return match[0][0] + _blank(match[0][1:-1]) + match[0][-1]
    return _TOKEN.sub(cover, text)


def comments_only(text):
    """Everything but comments becomes blanks; lines and columns stay."""
    kept, at = [], 0
    for match in _TOKEN.finditer(text):
        kept.append(_blank(text[at:match.start()]))
        kept.append(match[0] if match["comment"] else _blank(match[0]))
        at = match.end()
    kept.append(_blank(text[at:]))
    return "".join(kept)
