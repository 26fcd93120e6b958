# SPDX-License-Identifier: MIT
"""Talks to the example cache: cache_client.py CASE HOST:PORT PID

Each case is a function below whose first comment is its claim. Timeouts are guards against a hang,
never the claim; what takes time is asked for again until it is so.
"""

import fnmatch
import os
import random
import select
import signal
import socket
import sys

GUARD_S = 60
SCALE = float(os.environ.get("BONXIE_SCALE", "1"))
MIB = 1 << 20


def fail(text):
    sys.exit(f"FAILED: {text}")


def check(is_true, text):
    if not is_true:
        fail(text)


def encode(*words):
    """A request as clients of redis send it."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class Failure(str):
    """An error reply."""


class Client:
    """A connection; replies are str (+), Failure (-), int, bytes or None, list."""

    def __init__(self, address):
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(GUARD_S)
            self.socket.connect(address[5:])
        else:
            host, port = address.rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)), timeout=GUARD_S)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.at = 0

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.data = self.data[self.at:] + data
        self.at = 0

    def line(self):
        while (end := self.data.find(b"\r\n", self.at)) < 0:
            self.more()
        line = self.data[self.at:end]
        self.at = end + 2
        return line

    def exactly(self, count):
        while len(self.data) - self.at < count:
            self.more()
        data = self.data[self.at:self.at + count]
        self.at += count
        return data

    def reply(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Failure(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if int(rest) < 0:
                return None
            data = self.exactly(int(rest) + 2)
            check(data[-2:] == b"\r\n", f"a bulk string ends with {data[-2:]}")
            return data[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return fail(f"a reply begins with {line}")

    def ask(self, *words):
        self.send(encode(*words))
        return self.reply()

    def at_end(self):
        """Whether the server has closed, with nothing unread."""
        try:
            self.more()
        except EOFError:
            return True
        except ConnectionResetError:
            return False
        return False

    def info(self, name):
        for line in self.ask("INFO").decode().split("\r\n"):
            if line.startswith(name + ":"):
                return line[len(name) + 1:]
        return fail(f"INFO has no {name}")

    def close(self):
        self.socket.close()


WRONG = Failure("WRONGTYPE Operation against a key holding the wrong kind of value")
NO_NUMBER = Failure("ERR value is not an integer or out of range")


class Model:
    """What the cache has to reply, for the keys of one client."""

    def __init__(self, prefix, rng):
        self.prefix = prefix
        self.rng = rng
        self.keys = {}
        self.times = set()

    def key(self):
        return b"%s%d" % (self.prefix, self.rng.randrange(12))

    def value(self):
        rng = self.rng
        kind = rng.randrange(8)
        if kind == 0:
            return b"%d" % rng.randrange(-9, 10)
        if kind == 1:
            return str(rng.choice([2**63 - 1, -2**63, 2**63, 2**64 - 1])).encode()
        if kind == 2:
            return rng.randbytes(rng.randrange(4000))
        if kind == 3:
            return b"\r\n$3\r\n" * rng.randrange(3)
        return rng.randbytes(rng.randrange(24))

    def drop(self, key):
        self.times.discard(key)
        return self.keys.pop(key, None) is not None

    def step(self):
        """Returns a random request and what is expected: a value, or a list of possible ones."""
        name = self.rng.choice(["get"] * 3 + ["set"] * 4 + [
            "del", "exists", "incr", "decr", "expire", "ttl", "mget", "mset", "lpush", "lpush",
            "lpop", "lrange", "sadd", "type", "keys", "ping", "echo", "unknown", "arity", "line", "empty"])
        return getattr(self, "do_" + name)()

    def do_get(self):
        key = self.key()
        value = self.keys.get(key)
        return encode("gEt", key), value if value is None or isinstance(value, bytes) else WRONG

    def do_set(self):
        key, value = self.key(), self.value()
        words = ["SET", key, value]
        condition = self.rng.choice([None, None, "NX", "xx"])
        has_time = self.rng.randrange(4) == 0
        options = [[condition]] if condition else []
        options += [self.rng.choice([["EX", 1000], ["px", 1000000]])] if has_time else []
        self.rng.shuffle(options)
        words += [word for option in options for word in option]
        is_there = key in self.keys
        if (condition == "NX" and is_there) or (condition == "xx" and not is_there):
            return encode(*words), None
        self.drop(key)
        self.keys[key] = value
        if has_time:
            self.times.add(key)
        return encode(*words), "OK"

    def do_del(self):
        keys = [self.key() for _ in range(self.rng.randrange(1, 5))]
        return encode("DEL", *keys), sum(self.drop(key) for key in keys)

    def do_exists(self):
        keys = [self.key() for _ in range(self.rng.randrange(1, 30))]
        return encode("EXISTS", *keys), sum(key in self.keys for key in keys)

    def add(self, name, step):
        key = self.key()
        value = self.keys.get(key, b"0")
        if not isinstance(value, bytes):
            return encode(name, key), WRONG
        try:
            number = int(value) if len(value) < 21 else None
        except ValueError:
            number = None
        if number is None or b"%d" % number != value or not -2**63 <= number < 2**63:
            return encode(name, key), NO_NUMBER
        if not -2**63 <= number + step < 2**63:
            return encode(name, key), Failure("ERR increment or decrement would overflow")
        self.keys[key] = b"%d" % (number + step)
        return encode(name, key), number + step

    def do_incr(self):
        return self.add("INCR", 1)

    def do_decr(self):
        return self.add("DECR", -1)

    def do_expire(self):
        key, seconds = self.key(), self.rng.choice([1000, 1000, 0, -1])
        is_there = key in self.keys
        if is_there and seconds <= 0:
            self.drop(key)
        elif is_there:
            self.times.add(key)
        return encode("EXPIRE", key, seconds), int(is_there)

    def do_ttl(self):
        key = self.key()
        if key not in self.keys:
            return encode("TTL", key), -2
        return encode("TTL", key), list(range(900, 1001)) if key in self.times else -1

    def do_mget(self):
        keys = [self.key() for _ in range(self.rng.randrange(1, 20))]
        values = [self.keys.get(key) for key in keys]
        return encode("MGET", *keys), [[v if isinstance(v, bytes) else None for v in values]]

    def do_mset(self):
        words = []
        for _ in range(self.rng.randrange(1, 12)):
            key, value = self.key(), self.value()
            self.drop(key)
            self.keys[key] = value
            words += [key, value]
        return encode("MSET", *words), "OK"

    def do_lpush(self):
        key, items = self.key(), [self.value() for _ in range(self.rng.randrange(1, 40))]
        request = encode("LPUSH", key, *items)
        if not isinstance(self.keys.get(key, []), list):
            return request, WRONG
        self.keys[key] = items[::-1] + self.keys.get(key, [])
        return request, len(self.keys[key])

    def do_lpop(self):
        key = self.key()
        value = self.keys.get(key)
        if value is None or not isinstance(value, list):
            return encode("LPOP", key), WRONG if value is not None else None
        item = value.pop(0)
        if not value:
            self.drop(key)
        return encode("LPOP", key), item

    def do_lrange(self):
        key = self.key()
        first, last = (self.rng.choice([0, -1, 2**63 - 1, -2**63, self.rng.randrange(-60, 60)])
                       for _ in range(2))
        value = self.keys.get(key, [])
        if not isinstance(value, list):
            return encode("LRANGE", key, first, last), WRONG
        begin = max(first + len(value), 0) if first < 0 else first
        end = last + len(value) if last < 0 else last
        return encode("LRANGE", key, first, last), [value[begin:end + 1] if end >= 0 else []]

    def do_sadd(self):
        key, members = self.key(), [self.value()[:3] for _ in range(self.rng.randrange(1, 30))]
        value = self.keys.get(key, set())
        if not isinstance(value, set):
            return encode("SADD", key, *members), WRONG
        self.keys[key] = value | set(members)
        return encode("SADD", key, *members), len(self.keys[key]) - len(value)

    def do_type(self):
        key = self.key()
        kinds = {bytes: "string", list: "list", set: "set", type(None): "none"}
        return encode("TYPE", key), kinds[type(self.keys.get(key))]

    def do_keys(self):
        """In the middle of what is ours: any byte, a set, a range, the rest; Python's own matcher
        agrees on these."""
        tail = self.rng.choice(["*", "?", "??", "[0-4]", "[!0-4]", "1*", "*1", "*1*", "[13579]*", "x"])
        found = [key for key in self.keys
                 if fnmatch.fnmatchcase(key.decode(), self.prefix.decode() + tail)]
        pattern = self.prefix + tail.replace("[!", "[^").encode()
        return encode("KEYS", pattern), Unordered(found)

    def do_ping(self):
        return encode("PING"), "PONG"

    def do_echo(self):
        value = self.value()
        return encode("echo", value), value

    def do_unknown(self):
        return encode("GET ", self.key()), Failure("ERR unknown command 'GET '")

    def do_arity(self):
        return encode("GET"), Failure("ERR wrong number of arguments for 'get' command")

    def do_line(self):
        key = self.key()
        value = self.keys.get(key)
        expected = value if value is None or isinstance(value, bytes) else WRONG
        return b'  get\t"%s" %s\n' % (key, self.rng.choice([b"", b"\r"])), expected

    def do_empty(self):
        """Requests that ask for nothing, in front of one that does."""
        return self.rng.choice([b"\r\n", b"\n", b"*0\r\n", b"*-1\r\n"]) + encode("PING"), "PONG"


class Unordered(list):
    """The same elements in any order."""


def is_expected(got, expected):
    if isinstance(expected, Unordered):
        return isinstance(got, list) and sorted(got) == sorted(expected)
    if isinstance(expected, list):
        return got in expected
    return got == expected and isinstance(got, Failure) == isinstance(expected, Failure)


def patterns(client):
    """What a pattern may hold that Python's has not: escapes, sets without an end, many stars."""
    keys = [b"", b"p*", b"px", b"p]", b"p-", b"p\\", b"p\0\r\n", b"p" + b"a" * 3000]
    for key in keys:
        client.ask("SET", key, "1")
    for pattern, found in {
            b"": [b""], b"p\\*": [b"p*"], b"p[\\]]": [b"p]"], b"p[x-]": [b"px", b"p-"], b"p[x": [b"px"],
            b"p\\": [b"p\\"], b"p[z-w]": [b"px"], b"p?\r\n": [b"p\0\r\n"], b"p[]": [],
            b"p" + b"a*" * 100 + b"b": [], b"p" + b"*a" * 100 + b"*": [keys[-1]]}.items():
        got = client.ask("KEYS", pattern)
        check(sorted(got) == sorted(found), f"KEYS {pattern!r:.60} finds {got!r:.200}")
    client.ask("DEL", *keys)


def model(address, _pid):
    """Random requests of several clients, pipelined and cut anywhere, are answered as a model of
    the commands answers them; increments of a key that all share are all there."""
    seed = int(os.environ.get("BONXIE_SEED", "0xcac4e"), 0)
    print(f"BONXIE_SEED={seed:#x}", flush=True)
    rng = random.Random(seed)
    clients = [Client(address) for _ in range(6)]
    models = [Model(b"c%d:" % i, rng) for i in range(len(clients))]
    requests = 0
    shared = 0
    clients[0].ask("FLUSHALL")
    for _ in range(max(20, int(200 * SCALE))):
        expected = [[] for _ in clients]
        pieces = []
        for i, one in enumerate(models):
            stream = b""
            for _ in range(rng.randrange(1, rng.choice([2, 20, 60]))):
                request, reply = one.step()
                stream += request
                expected[i].append((request, reply))
                if rng.randrange(3) == 0:
                    stream += encode("INCR", "shared")
                    expected[i].append((b"INCR shared", range(1 << 30)))
                    shared += 1
            cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randrange(6)))
            cuts = [0] + cuts + [len(stream)]
            pieces.append([stream[a:b] for a, b in zip(cuts, cuts[1:])])
        while any(pieces):
            i = rng.choice([i for i, rest in enumerate(pieces) if rest])
            clients[i].send(pieces[i].pop(0))
        for client, wanted in zip(clients, expected):
            for request, reply in wanted:
                got = client.reply()
                is_right = got in reply if isinstance(reply, range) else is_expected(got, reply)
                check(is_right, f"{request[:300]} is answered {got!r:.300}, not {reply!r:.300}")
                requests += 1
    check(clients[1].ask("GET", "shared") == b"%d" % shared, "increments are lost")
    keys = sum(len(one.keys) for one in models) + 1
    counted = clients[2].info("db0")
    check(counted.startswith(f"keys={keys},"), f"{keys} keys, counted: {counted}")
    check(clients[3].ask("DBSIZE") == keys, "DBSIZE is wrong")
    everything = [key for one in models for key in one.keys] + [b"shared"]
    check(sorted(clients[3].ask("KEYS", "*")) == sorted(everything), "KEYS * is wrong")
    patterns(clients[3])
    check(clients[0].ask("FLUSHALL") == "OK", "FLUSHALL fails")
    check(clients[1].info("db0") == "keys=0,expires=0", "keys are left after FLUSHALL")
    check(clients[1].info("used_memory") == "0", "FLUSHALL leaves memory in use")
    print(f"{requests} requests as the model")


def abuse(address, _pid):
    """What breaks the protocol is told so and closed, wherever it is cut; others are served on."""
    witness = Client(address)
    error = "Protocol error: "
    cases = [
        (b"*1\r\n$-1\r\n", error + "invalid bulk length"),
        (b"*1\r\n$-5\r\n", error + "invalid bulk length"),
        (b"*1\r\n$67108865\r\n", error + "invalid bulk length"),
        (b"*1\r\n$99999999999999999999\r\n", error + "invalid bulk length"),
        (b"*1\r\n$4294967296\r\n", error + "invalid bulk length"),
        (b"*1\r\n$18446744073709551617\r\n", error + "invalid bulk length"),
        (b"*1\r\n$x\r\n", error + "invalid bulk length"),
        (b"*1\r\n$\r\n", error + "invalid bulk length"),
        (b"*1\r\n$1x\r\n", error + "invalid bulk length"),
        (b"*1\r\n$1\rx", error + "invalid bulk length"),
        (b"*1\r\n$" + b"0" * 100, error + "invalid bulk length"),
        (b"*x\r\n", error + "invalid multibulk length"),
        (b"*\r\n", error + "invalid multibulk length"),
        (b"*65537\r\n", error + "invalid multibulk length"),
        (b"*4294967297\r\n", error + "invalid multibulk length"),
        (b"*1\r\n+PING\r\n", error + "expected '$'"),
        (b"*1\r\n*1\r\n", error + "expected '$'"),
        (b"*1\r\n$4\r\nPINGxx", error + "expected CRLF behind a bulk string"),
        (b"get \"a b\r\n", error + "unbalanced quotes in request"),
        (b"x" * 16385, error + "too big inline request"),
    ]
    for data, wanted in cases:
        for cut in {0, 1, len(data) // 2, len(data) - 1}:
            client = Client(address)
            client.send(encode("ECHO", "before") + data[:cut])
            check(client.reply() == b"before", f"{data[:60]} spoils what stands before it")
            client.send(data[cut:])
            got = client.reply()
            check(got == "ERR " + wanted, f"{data[:60]} cut at {cut} is answered {got}")
            check(client.at_end(), f"{data[:60]} is answered, and not closed")
            client.close()
            check(witness.ask("PING") == "PONG", "another connection is gone")
    for data in (b"", b"*", b"*3\r\n$3\r\nSET\r\n$1\r\na", b"*2\r\n$67108864\r\nx", b"get"):
        client = Client(address)
        client.send(data)
        client.socket.shutdown(socket.SHUT_WR)
        check(client.at_end(), f"half of a request, {data}, is answered")
        client.close()
    client = Client(address)
    many = [b"k%d" % i for i in range(65535)]
    check(client.ask("EXISTS", *many) == 0, "65,536 arguments")
    check(client.ask("GET", b"k" * (MIB + 1)) == "ERR the key is too long", "a long key")
    check(client.ask("SADD", "s", b"k" * (MIB + 1)) == "ERR the member is too long", "long member")
    large = random.Random(1).randbytes(8 * MIB)
    check(client.ask("SET", "large", large) == "OK", "8 MiB are not taken")
    check(client.ask("GET", "large") == large, "8 MiB come back otherwise")
    check(client.ask("SELECT", 0) == "OK", "SELECT 0")
    check(client.ask("SELECT", 1) == "ERR DB index is out of range", "SELECT 1")
    check(client.ask("SET", "a", "b", "NX", "XX") == "ERR syntax error", "NX and XX")
    for time in (0, -1, "x", 2**63 - 1, 2**63):
        got = client.ask("SET", "a", "b", "EX", time)
        check(got == "ERR invalid expire time in 'set' command", f"EX {time}: {got}")
    check(client.ask("SET", "a", "b", "PX") == "ERR syntax error", "PX without a number")
    check(client.ask("EXPIRE", "a", "x") == NO_NUMBER, "EXPIRE x")
    check(len(client.ask("COMMAND")) == client.ask("COMMAND", "COUNT"), "COMMAND COUNT")
    check(client.ask("CONFIG", "GET", "save") == [b"save", b""], "CONFIG GET save")
    check(client.ask("CONFIG", "GET", "none") == [], "CONFIG GET none")
    check(client.ask("QUIT") == "OK" and client.at_end(), "QUIT")


def pressure(address, _pid):
    """A peer that sends and never reads is read from no more, at a bounded cost in memory; once it
    reads, it gets every reply."""
    witness = Client(address)
    value = b"v" * 10000
    key = b"k" * 1000
    check(witness.ask("SET", key, value) == "OK", "SET fails")
    client = Client(address)
    client.socket.setblocking(False)
    request = encode("GET", key)
    limit = 64 * MIB
    chunk = request * 64
    sent = 0
    while sent < limit:
        _, writable, _ = select.select([], [client.socket], [], 1)
        if not writable:
            break  # should it be writable later after all, less is proved, nothing wrong
        sent += client.socket.send(chunk[sent % len(request):])
    check(sent < limit, f"{sent} bytes of requests are taken and no reply is read")
    used = int(witness.info("used_by_messages"))
    check(used < MIB // 2, f"{used} bytes are held for a peer that does not read")
    check(witness.ask("PING") == "PONG", "another connection waits for it")
    check(witness.ask("SET", "large", b"v" * 100000) == "OK", "SET fails")
    hasty = Client(address)
    hasty.send(encode("GET", "large") * 1500)
    select.select([hasty.socket], [], [], GUARD_S)  # the first replies have left
    used = int(witness.info("used_by_messages"))
    check(used < MIB, f"{used} bytes: replies are made that nobody can take yet")
    hasty.close()
    client.socket.settimeout(GUARD_S)
    for _ in range(sent // len(request)):
        check(client.reply() == value, "a reply is not the value")
    client.send(request[sent % len(request):] if sent % len(request) else request)
    check(client.reply() == value, "the last reply is not the value")
    print(f"stopped after {sent} bytes, {used} bytes held")


def expiry(address, _pid):
    """A key is gone when its time has come, also for who only counts keys: nobody has to ask."""
    client = Client(address)
    client.ask("FLUSHALL")
    check(client.ask("SET", "a", "1", "PX", 1) == "OK", "SET PX")
    while client.ask("GET", "a") is not None:
        pass
    check(client.ask("SET", "a", "2", "NX", "PX", 1000000) == "OK", "an expired key is there for NX")
    check(client.ask("SET", "a", "3") == "OK" and client.ask("TTL", "a") == -1, "SET keeps a time")
    check(client.ask("SET", "a", "4", "EX", 1000) == "OK", "SET EX")
    check(client.ask("INCR", "a") == 5 and client.ask("TTL", "a") > 0, "INCR drops the time")
    check(client.ask("EXPIRE", "a", -1) == 1 and client.ask("EXISTS", "a") == 0, "EXPIRE -1")
    count = max(100, int(20000 * SCALE))
    base = int(client.info("expired_keys"))
    for at in range(0, count, 100):
        client.send(b"".join(encode("SET", f"k{i}", "x", "PX", 1) for i in range(at, at + 100)))
        check(all(client.reply() == "OK" for _ in range(100)), "SET PX fails")
    client.ask("SET", "stays", "x", "EX", 1000)
    while client.info("db0") != "keys=1,expires=1":
        pass
    expired = int(client.info("expired_keys")) - base
    check(expired == count, f"{expired} of {count} keys have expired")
    check(client.ask("GET", "stays") == b"x", "a key is gone before its time")


def limits(address, _pid):
    """Started with --memory 4 --keys 100 --connections 3: each limit is an error reply, and what
    was refused is possible again when there is room."""
    client = Client(address)
    check(client.ask("SET", "large", b"x" * (3 * MIB)).startswith("OOM"), "3 MiB fit twice in 4")
    check(client.at_end(), "the rest of a request that is not taken would be taken for commands")
    client = Client(address)
    check(client.ask("SET", "large", b"x" * MIB) == "OK", "1 MiB does not fit in 4")
    reply = client.ask("MGET", *["large"] * 8)
    check(isinstance(reply, Failure) and reply.startswith("OOM"), f"8 MiB of reply: {reply!r:.60}")
    check(client.ask("GET", "large") == b"x" * MIB, "replies are out of step after a failed one")
    count = 0
    while (reply := client.ask("LPUSH", "list", b"y" * 100000)) == count + 1:
        count += 1
    check(reply.startswith("OOM") and 5 < count < 40, f"{count} items of 100 kB, then {reply}")
    popped = 0
    while client.ask("LPOP", "list") is not None:
        popped += 1
    check(popped == count, f"{popped} of {count} items come back")
    check(client.ask("FLUSHALL") == "OK" and client.info("used_memory") == "0", "memory is lost")
    for i in range(100):
        check(client.ask("SET", f"k{i}", i) == "OK", f"key {i} of 100")
    for words in (("SET", "k100", ""), ("LPUSH", "k100", ""), ("SADD", "k100", ""), ("INCR", "k100"),
                  ("MSET", "k1", "", "k100", "")):
        check(client.ask(*words).startswith("OOM"), f"{words} makes key 101 of 100")
    check(client.ask("SET", "k1", "again") == "OK", "a key that is there is refused")
    check(client.ask("DEL", "k2") == 1 and client.ask("SET", "k100", "") == "OK", "no room after DEL")
    others = [Client(address), Client(address)]
    check(all(other.ask("PING") == "PONG" for other in others), "3 connections of 3")
    fourth = Client(address)
    check(fourth.reply() == "ERR max number of clients reached" and fourth.at_end(), "a fourth")
    others[0].close()
    while True:  # until the server has noticed
        fifth = Client(address)
        try:
            if fifth.ask("PING") == "PONG":
                break
        except (EOFError, ConnectionError):
            pass
        fifth.close()


def drain(address, pid):
    """SIGTERM: requests that have arrived are answered, also on connections that nobody has
    accepted yet; then the connections end without a reset."""
    clients = [Client(address) for _ in range(50)]
    for client in clients:
        check(client.ask("PING") == "PONG", "PING")
    count = 200
    clients += [Client(address) for _ in range(50)]
    for client in clients:
        client.send(encode("INCR", "n") * count + encode("SET", "half", "x")[:-3])
    os.kill(pid, signal.SIGTERM)
    total = 0
    for client in clients:
        for _ in range(count):
            check(client.reply() <= count * len(clients), "INCR fails")
            total += 1
        check(client.at_end(), "more than the replies, or a reset")
    check(total == count * len(clients), "replies are missing")


if __name__ == "__main__":
    {f.__name__: f for f in (model, abuse, pressure, expiry, limits, drain)}[sys.argv[1]](
        sys.argv[2], int(sys.argv[3]))
