# SPDX-License-Identifier: MIT
"""Runs grep_pull and grep_push: grep_examples.py CASE PROGRAM.

On a tree of plain and packed files, beside their twin in Python and beside grep.
"""

import bz2
import fcntl
import gzip
import os
import random
import select
import signal
import subprocess
import sys
import tempfile

from program import check_flags, own_words, require

HERE = os.path.dirname(os.path.abspath(__file__))


def run(*command, environment=None):
    """As program.run, in bytes, because lines may be anything."""
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    return done.returncode, done.stdout, own_words(done.stderr.decode(errors="replace"))


def lines(seed, count):
    """Text with words to look for, empty and long lines, both sorts of ends, bytes of all values."""
    numbers = random.Random(seed)
    words = (b"alpha", b"beta", b"gamma", b"delta", b"\xff\xfe", b"4711", b"\t")
    return b"".join(
        b"%d " % number + b" ".join(numbers.choices(words, k=numbers.choice((0, 1, 5, 5, 5, 300)))) +
        numbers.choice((b"\n", b"\n", b"\n", b"\r\n")) for number in range(count))


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def make_tree():
    """Some of it several blocks long, in members, without a last end, empty; links and a fifo."""
    write("tree/one.log", lines(1, 40))
    write("tree/two.log.gz", gzip.compress(lines(2, 900)))
    write("tree/three.log.bz2", bz2.compress(lines(3, 700)))
    write("tree/other.txt", lines(4, 40))
    write("tree/below/members.log.gz",
          b"".join(gzip.compress(part) for part in (lines(5, 30), b"", b"no end, alpha ", lines(6, 30))))
    write("tree/below/members.log.bz2",
          b"".join(bz2.compress(part) for part in (lines(7, 30), b"", b"no end, alpha ", lines(8, 30))))
    write("tree/below/a b/ends without.log", lines(9, 30) + b"last alpha")
    write("tree/below/a b/empty.log", b"")
    write("tree/below/a b/empty.log.gz", gzip.compress(b""))
    write("tree/below/a b/noise.log.gz", gzip.compress(random.Random(10).randbytes(300000)))
    write("tree/below-all.log", lines(11, 400))  # '-' is before '/', which is before letters
    write("elsewhere/far.log", lines(12, 40))
    os.symlink("../elsewhere", "tree/link")
    os.mkfifo("tree/fifo.log")


# What to look for: flags, from, to, pattern, glob, places. grep knows the same expressions.
SEARCHES = (
    ([], "16", "20", "alpha", "*.log*", ["tree"]),
    (["-r"], "16", "20", "alpha.*4711", "*.log*", ["tree"]),
    (["-r"], "700", "710", "alpha|delta", "*.log*", ["tree"]),
    (["-r"], "16", "all", "^[0-9]+ (beta )+", "*.bz2", ["tree/"]),
    (["-r"], "1", "5", "gamma$", "[em]*", ["tree/below", "elsewhere", "tree/below"]),
    (["-r"], "1", "1", "^$", "*", ["tree"]),
    (["-r"], "100000", "100001", "alpha", "*", ["tree"]),
)


def bounds(first, last):
    return ["--from", first] + ([] if last == "all" else ["--to", last])


def twin(program):
    """The same bytes as the twin's, of the same kind."""
    kind = os.path.basename(program).rpartition("_")[2]
    found = 0
    for flags, first, last, pattern, glob, places in SEARCHES:
        code, expected, err = run(sys.executable, f"{HERE}/twins/grep.py", kind, *flags, first, last,
                                  pattern, glob, *places)
        require(code == 0 and err == "", "the twin runs", err)
        for workers in ("1", "2"):
            printed = run(program, "--workers", workers, *flags, *bounds(first, last), pattern, glob,
                          *places)
            require(printed == (0 if expected else 1, expected, ""),
                    f"{pattern!r} gives what the twin prints: {expected!r}", printed)
        if last != "all":
            require(expected.count(b"\n") <= int(last) - int(first) + 1, "no more than that", expected)
        found += len(expected.splitlines())
    require(found > 40, "the searches find something", found)


def unpack_all():
    """The tree again, with each packed file unpacked under the name it has."""
    for directory, _, names in os.walk("tree"):
        for name in names:
            path = os.path.join(directory, name)
            opener = {".gz": gzip.open, "bz2": bz2.open}.get(name[-3:])
            if opener is not None:
                with opener(path) as file:
                    content = file.read()
                write(path, content)


def beside_grep(program):
    """All matches, as grep finds them in the same files unpacked."""
    searches = (("alpha.*4711", "*.log*"), ("^[0-9]+ (beta )+", "*.gz"), ("", "m*"))
    printed = [run(program, "-r", pattern, glob, "tree") for pattern, glob in searches]
    unpack_all()
    environment = dict(os.environ, LC_ALL="C")
    for (pattern, glob), (code, out, err) in zip(searches, printed):
        command = 'find -L tree -type f -name "$1" -print0 | sort -z | xargs -0 grep -EaHZ -e "$2"'
        _, expected, _ = run("sh", "-c", command, "-", glob, pattern, environment=environment)
        expected = expected.replace(b"\r\n", b"\n").replace(b"\0", b": ") if pattern else None
        if expected is not None:
            require((code, out, err) == (0, expected, ""), f"{pattern!r} gives what grep prints", out)
        else:
            require(code == 0 and out.count(b"\n") == 60 + 60, "nothing is in each line", out)


def damaged():
    """Files that are read up to where they are damaged, with how many of their lines."""
    text = lines(20, 400)  # more than a block
    packed = gzip.compress(text)
    write("broken/checksum.gz", packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:])  # 400
    write("broken/no-end.gz", packed[:-8])  # 400
    write("broken/no-end.bz2", bz2.compress(text)[:-10])  # the block is there: 400
    write("broken/not-gzip.gz", text)  # 0
    write("broken/not-bzip2.bz2", text)  # 0
    write("broken/nothing.gz", b"")  # 0
    write("broken/nothing.bz2", b"")  # 0
    write("broken/surplus.gz", packed + b"surplus")  # 400
    write("broken/half.gz", gzip.compress(lines(21, 3000))[:100000])  # some
    write("broken/long", text + b"long " * 300000 + b"\n" + text)  # 400
    os.symlink("nowhere", "broken/lost")
    os.symlink("/proc/self/mem", "broken/refuses")
    os.symlink(".", "broken/round")


def errors(program):
    """What cannot be read is named on stderr, what can be is searched all the same."""
    damaged()
    write("broken/zz last", lines(22, 10))
    code, out, err = run(program, "-r", "^[0-9]", "*", "broken", "missing")
    require(code == 2, "it exits with 2", (code, err))
    counts = {}
    for line in out.split(b"\n")[:-1]:
        path = line.split(b": ")[0].decode()
        counts[path] = counts.get(path, 0) + 1
    some = counts.pop("broken/half.gz", 0)
    require(100 < some < 3000, "half a file is read so far", some)
    require(counts == {"broken/checksum.gz": 400, "broken/no-end.gz": 400, "broken/no-end.bz2": 400,
                       "broken/surplus.gz": 400, "broken/long": 400, "broken/zz last": 10},
            "each is read as far as it can be", counts)
    reported = sorted(line.split(": ")[0] for line in err.splitlines())
    require(reported == ["broken/" + name for name in (
                "checksum.gz", "half.gz", "long", "lost", "no-end.bz2", "no-end.gz", "not-bzip2.bz2",
                "not-gzip.gz", "nothing.bz2", "nothing.gz", "refuses", "round", "surplus.gz")] +
            ["missing"], "each is reported once", err)
    code, _, err = run(program, "x", "*", "broken/zz last")
    require(code == 1 and err == "", "no match is 1", (code, err))
    with open("/dev/full", "wb") as full:
        done = subprocess.run([program, "-r", "[0-9]", "*", "broken"], stdout=full,
                              stderr=subprocess.PIPE, check=False)
    require(done.returncode == 2 and b"No space left" in done.stderr, "a full disk is an error", done)


def open_files_of(child):
    """Those of the tree that a program has open now."""
    folder = f"/proc/{child.pid}/fd"
    paths = []
    for number in os.listdir(folder):
        try:
            paths.append(os.readlink(f"{folder}/{number}"))
        except FileNotFoundError:  # closed meanwhile
            pass
    return [path for path in paths if path.startswith(os.getcwd())]


def start_blocked(program, *arguments):
    """Starts a program that cannot end, because nobody reads what it prints. Returns it when it has
    begun to print; then it has opened what it would open, and more."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # before anything is in it
    child = subprocess.Popen([program, *arguments], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    child.stdout = open(reading, "rb")
    readable = select.select([child.stdout], [], [], 60)[0]
    require(readable and child.poll() is None, "it begins to print and waits", child.returncode)
    return child


def closes(program):
    """Once it has its last match it opens nothing more, and has closed what it had open before it
    prints, at its end. As long as it looks for more a file is open, and a cancel closes that."""
    write("search/a.log", lines(1, 100))
    write("search/b.gz", b"damaged")
    code, _, err = run(program, "--to", "5", "alpha", "*", "search")
    require(code == 0 and err == "", "what comes after the last match is not opened", err)
    code, _, err = run(program, "alpha", "*", "search")
    require(code == 2 and err.startswith("search/b.gz: "), "else it is", err)

    for name in ("big", "big.gz", "big.bz2"):
        pack = {"gz": gzip.compress, "bz2": bz2.compress}.get(name.partition(".")[2], bytes)
        write(f"files/{name}", pack(b"".join(b"%d " % i + b"x" * 2000 + b"\n" for i in range(2000))))
        early = start_blocked(program, "--from", "16", "--to", "20", "x", name, "files")
        require(open_files_of(early) == [], "after its last match all is closed", open_files_of(early))
        out, err = early.communicate()
        require(early.returncode == 0 and out.count(b"\n") == 5 and own_words(err.decode()) == "", "it ends", err)

        late = start_blocked(program, "x", name, "files")
        require(len(open_files_of(late)) == 1, "before that one is open", open_files_of(late))
        late.terminate()
        _, err = late.communicate()
        require(late.returncode == 143 and own_words(err.decode()) == "", "SIGTERM ends it",
                (late.returncode, err))


def unread(program):
    """Whose output nobody reads any more ends as grep does: by SIGPIPE, without a word; and where that
    is ignored, with a word and with 2."""
    write("tree/long.log", lines(1, 5000))
    for name in ("grep", program):
        for is_ignored in (False, True):
            reading, writing = os.pipe()
            os.close(reading)
            arguments = ["-rh", ".", "tree"] if name == "grep" else ["-r", ".", "*", "tree"]
            done = subprocess.run([name, *arguments], stdout=writing, stderr=subprocess.PIPE, check=False,
                                  restore_signals=not is_ignored)
            os.close(writing)
            said = own_words(done.stderr.decode(errors="replace"))
            wanted = 2 if is_ignored else -signal.SIGPIPE
            require(done.returncode == wanted, f"{name} ends as grep does", done.returncode)
            require(("Broken pipe" in said) == is_ignored, f"{name} says why or nothing", said)


def flags(program):
    check_flags(program, ("--recursive", "--from", "--to", "--workers", "GLOB"),
                ([], ["--from", "0", "x"], ["--to", "x", "x"], ["--from", "3", "--to", "2", "x"],
                 ["--workers", "-1", "x"], ["--unknown", "x"], ["(", "*"], ["--to"]))
    write("here/a", b"alpha\nbeta\n")
    write("here/b", b"beta\n")
    os.chdir("here")
    require(run(program, "beta") == (0, b"./a: beta\n./b: beta\n", ""), "it looks here, at all", None)
    require(run(program, "beta", "b") == (0, b"./b: beta\n", ""), "it looks here", None)
    require(run(program, "l", "*", "a") == (0, b"a: alpha\n", ""), "it looks into a file", None)


def everywhere(program):
    """Stopped wherever it may wait: at each place there is, in a small tree with all sorts of files."""
    write("tree/a.log", lines(1, 200))
    write("tree/below/b.log.gz", gzip.compress(lines(2, 200)))
    write("tree/below/c.log.bz2", bz2.compress(lines(3, 200)))
    write("tree/below/d.log.gz", b"damaged")
    command = ["bash", f"{HERE}/everywhere.sh", program, "-r", "--from", "16", "--to", "200", "alpha",
               "*.log*", "tree"]
    sys.exit(subprocess.run(command, check=False).returncode)


CASES = {"twin": twin, "grep": beside_grep, "errors": errors, "closes": closes, "unread": unread,
         "flags": flags, "everywhere": everywhere}

if __name__ == "__main__":
    case, path_of_program = sys.argv[1], os.path.abspath(sys.argv[2])
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        if case in ("twin", "grep"):
            make_tree()
        CASES[case](path_of_program)
