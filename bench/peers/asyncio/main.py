#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The peer asyncio: a few rows, and servers; on uvloop's loop where that is installed."""

import asyncio
import os
import sys
import time

sys.dont_write_bytecode = True

import server

try:
    import uvloop
except ImportError:
    uvloop = None

TASKS_PER_ROUND = 1000
YIELDS_PER_ROUND = 10000
HOPS_PER_ROUND = 1000
ITEMS_PER_ROUND = 8000
SECTIONS_PER_ROUND = 1600
STARTS_PER_ROUND = 1000
PENDING_TIMERS = 1000000
PRODUCERS = 4
CONSUMERS = 4
ROOM = 128
IDLE_TASKS = 100000


class Count:
    """How often something was done."""

    def __init__(self):
        self.value = 0

    async def add_one(self):
        self.value += 1


def require(is_right, what):
    if not is_right:
        sys.exit(f"peer-asyncio: {what}")


async def measure(seconds, batch):
    """Runs batches of twice as many rounds each time until they have taken so many seconds
    together, and prints their figures. A batch returns its operations, its checksum and what that
    has to be. The first, of one round, is not counted."""
    operations = checksum = wall_ns = cpu_ns = 0
    rounds = 1
    _, warm, expected = await batch(1)
    require(warm == expected, "wrong checksum")
    while wall_ns < seconds * 1e9:
        cpu_begin_ns = time.process_time_ns()
        begin_ns = time.perf_counter_ns()
        done, found, expected = await batch(rounds)
        wall_ns += time.perf_counter_ns() - begin_ns
        cpu_ns += time.process_time_ns() - cpu_begin_ns
        require(found == expected, "wrong checksum")
        operations += done
        checksum += found
        rounds *= 2
    print(f"{wall_ns / operations:.2f} {cpu_ns / operations:.2f} {operations} {checksum}")


def sum_below(count):
    return count * (count - 1) // 2


# ---- Spawning, giving way ----


async def spawn_join(rounds):
    operations = rounds * TASKS_PER_ROUND
    count = Count()
    for _ in range(operations):
        await asyncio.create_task(count.add_one())
    return operations, count.value, operations


async def spawn_1000(rounds):
    operations = rounds * TASKS_PER_ROUND
    count = Count()
    for _ in range(rounds):
        await asyncio.wait([asyncio.create_task(count.add_one()) for _ in range(TASKS_PER_ROUND)])
    return operations, count.value, operations


async def give_way(times):
    count = 0
    for _ in range(times):
        await asyncio.sleep(0)
        count += 1
    return count


def yields(tasks):
    async def batch(rounds):
        share = rounds * YIELDS_PER_ROUND // tasks
        counts = await asyncio.gather(*(give_way(share) for _ in range(tasks)))
        return share * tasks, sum(counts), share * tasks

    return batch


# ---- Channels, semaphores, mutexes ----


async def answer(there, back):
    while (item := await there.get()) is not None:
        await back.put(item)


async def chan_hop(rounds):
    """There is no unbuffered queue: room for one is the least."""
    throws = rounds * HOPS_PER_ROUND // 2
    there, back = asyncio.Queue(1), asyncio.Queue(1)
    task = asyncio.create_task(answer(there, back))
    checksum = 0
    for i in range(throws):
        await there.put(i)
        checksum += await back.get()
    await there.put(None)
    await task
    return 2 * throws, checksum, sum_below(throws)


async def sem_hop(rounds):
    throws = rounds * HOPS_PER_ROUND // 2
    there, back = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def hop_back():
        for _ in range(throws):
            await there.acquire()
            back.release()

    task = asyncio.create_task(hop_back())
    count = 0
    for _ in range(throws):
        there.release()
        await back.acquire()
        count += 2
    await task
    return 2 * throws, count, 2 * throws


async def consume(queue):
    total = 0
    while (item := await queue.get()) is not None:
        total += item
    return total


async def produce(queue, items):
    for item in items:
        await queue.put(item)


async def mpmc(rounds):
    items = rounds * ITEMS_PER_ROUND
    share = items // PRODUCERS
    queue = asyncio.Queue(ROOM)
    sinks = [asyncio.create_task(consume(queue)) for _ in range(CONSUMERS)]
    shares = [range(i * share, (i + 1) * share) for i in range(PRODUCERS)]
    await asyncio.gather(*(produce(queue, mine) for mine in shares))
    for _ in sinks:
        await queue.put(None)
    return items, sum(await asyncio.gather(*sinks)), sum_below(items)


async def mutex_1(rounds):
    sections = rounds * SECTIONS_PER_ROUND
    mutex = asyncio.Lock()
    count = 0
    for _ in range(sections):
        async with mutex:
            count += 1
    return sections, count, sections


def crowd(tasks, gives_way):
    async def batch(rounds):
        share = rounds * SECTIONS_PER_ROUND // tasks
        mutex = asyncio.Lock()
        count = 0

        async def enter_sections():
            nonlocal count
            for _ in range(share):
                async with mutex:
                    before = count
                    if gives_way:
                        await asyncio.sleep(0)
                    count = before + 1

        await asyncio.gather(*(enter_sections() for _ in range(tasks)))
        return share * tasks, count, share * tasks

    return batch


# ---- Timers ----


def far_seconds(number):
    """In the course of an hour and in no order."""
    return 3600 + number * 2654435761 % 3600000000000 / 1e9


def timers(pending):
    async def run(seconds):
        loop = asyncio.get_running_loop()
        fired = Count()

        def fire():
            fired.value += 1

        handles = [loop.call_later(far_seconds(i), fire) for i in range(pending)]
        number = pending

        async def batch(rounds):
            nonlocal number
            starts = rounds * STARTS_PER_ROUND
            stopped = 0
            for i in range(number, number + starts):
                handle = loop.call_later(far_seconds(i), fire)
                handle.cancel()
                stopped += handle.cancelled()
            number += starts
            return starts, stopped + fired.value, starts

        await measure(seconds, batch)
        for handle in handles:
            handle.cancel()

    return run


# ---- Memory ----


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


async def idle_task(_seconds):
    """The value is bytes."""
    gate = asyncio.Event()
    parked, ended = Count(), Count()

    async def wait_at_gate():
        await parked.add_one()
        await gate.wait()
        await ended.add_one()

    tasks = set()
    before = resident_bytes()
    cpu_begin_ns = time.process_time_ns()
    for _ in range(IDLE_TASKS):
        tasks.add(asyncio.create_task(wait_at_gate()))
    while parked.value < IDLE_TASKS:
        await asyncio.sleep(0)
    cpu_ns = time.process_time_ns() - cpu_begin_ns
    each = (resident_bytes() - before) / IDLE_TASKS
    gate.set()
    await asyncio.wait(tasks)
    require(ended.value == IDLE_TASKS, "wrong checksum")
    print(f"{each:.2f} {cpu_ns / IDLE_TASKS:.2f} {IDLE_TASKS} {ended.value}")


BATCHES = {
    "spawn_join": spawn_join,
    "spawn_1000": spawn_1000,
    "yield_2": yields(2),
    "yield_1000": yields(1000),
    "chan_hop": chan_hop,
    "sem_hop": sem_hop,
    "mpmc": mpmc,
    "mutex_1": mutex_1,
    "mutex_16": crowd(16, False),
    "mutex_yield": crowd(4, True),
}
RUNS = {
    "timer_arm": timers(0),
    "timer_arm_1m": timers(PENDING_TIMERS),
    "idle_task": idle_task,
}


def version():
    words = ["CPython", sys.version.split()[0], sys.version[sys.version.index("[") :]]
    words += ["uvloop " + uvloop.__version__] if uvloop else ["asyncio's own loop"]
    return " ".join(words).replace("\n", " ")


def run_row(name, seconds):
    if name in BATCHES:
        asyncio.run(measure(seconds, BATCHES[name]))
    else:
        asyncio.run(RUNS[name](seconds))
    return 0


def main(arguments):
    if uvloop:
        uvloop.install()
    if arguments == ["--version"]:
        print(version())
        return 0
    if arguments == ["--list"]:
        print("\n".join(f"{name} 1" for name in [*BATCHES, *RUNS]))
        return 0
    if arguments and arguments[0] in ("echo", "http"):
        return server.server_main(arguments)
    if len(arguments) == 3 and arguments[0] in {**BATCHES, **RUNS} and arguments[1] == "1":
        return run_row(arguments[0], float(arguments[2]))
    print("usage: peer-asyncio --version | --list | ROW 1 SECONDS | echo ...", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
