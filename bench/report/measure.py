#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures bonxie and its peers in one run and writes what it found as JSON.

A cell is one program that does one kind of work; a sample is one short run of it, in a process of
its own. A round takes one sample of every cell, the competitors of a row one after the other and in
an order that changes from round to round, so that what disturbs the machine disturbs all of them.
Ratios are of samples of one round. What fails or does not end in time is recorded as failed.

  measure.py --bin DIRECTORY --out FILE [--quick] [--only PATTERN] [--minutes N] [--rounds N]
             [--server-rounds N] [--seed N]

PATTERN is looked for in the names of rows (rows.py) and of columns such as echo.1.64 (protocol,
workers, connections), curve, cache and proxy.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True

import machine
import programs
import rows
import services

FORMAT = 1
# Of the whole time, up to where a section may go. What one leaves goes to the next.
SHARES = {"rows": 0.55, "servers": 0.92, "curve": 0.97, "programs": 1.0}
# A peer that is slow and far behind is not measured in every round: it decides nothing.
FAR_RATIO = 3.0
SLOW_ROUNDS = ((5.0, 1), (2.0, 3))  # what takes so many seconds: so many rounds
QUICK_TIMEOUT_S = 8
SLOWEST_SHOWN = 5
CURVE_ROUNDS = 3
SLOW_ROW_S = 5.0  # ours takes so long: once more for the noise floor only in every second round


class Record:
    """What has been measured: cells by id, each with its command, samples and failures."""

    def __init__(self, options):
        self.options = options
        self.cells = {}
        self.rounds = {}
        self.began = time.monotonic()
        self.head = {
            "format": FORMAT,
            "is_quick": options.quick,
            "seed": options.seed,
            "command": options.command,
            "machine": machine.facts(),
            "build": machine.build(options.bin),
            "peers": machine.peers(options.bin),
            "begin": machine.moment(),
        }

    def cell(self, name, **about):
        return self.cells.setdefault(name, {**about, "samples": [], "failures": []})

    def take(self, cell, number, command, measure, timeout_s):
        """One sample. Returns the seconds it took."""
        begin = time.monotonic()
        cell.setdefault("command", shown(command, self.options.bin))
        try:
            sample = measure(command, timeout_s)
            cell["samples"].append({"round": number, **sample})
            if sample.get("benchmark_build"):
                self.head["benchmark_build"] = sample.pop("benchmark_build")
                cell["samples"][-1].pop("benchmark_build")
        except programs.Failed as failure:
            cell["failures"].append({"round": number, "why": str(failure)})
        except (KeyError, ValueError) as error:
            cell["failures"].append({"round": number, "why": f"says something else: {error!r}"})
        return time.monotonic() - begin

    def fail(self, cell, number, why):
        cell["failures"].append({"round": number, "why": str(why)})

    def write(self):
        text = json.dumps({**self.head, "end": machine.moment(), "rounds": self.rounds,
                           "seconds": round(time.monotonic() - self.began, 1),
                           "cells": self.cells}, indent=1)
        temporary = self.options.out + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(temporary, self.options.out)


def shown(command, bin_dir):
    """A command as a reader can type it."""
    return [word.replace(bin_dir, os.path.relpath(bin_dir, machine.ROOT)) if bin_dir in word and
            bin_dir.startswith(machine.ROOT) else word for word in command]


# ---- Rows ----


def ours_wanted(options):
    """{row of bonxie-bench: (time-out, is it measured twice)} and the blocks they belong to."""
    wanted = {}

    def add(block, name, timeout_s, is_twice=False):
        known = wanted.get(name, (block, 0, False))
        wanted[name] = (known[0], max(known[1], timeout_s), known[2] or is_twice)

    for row in rows.ROWS:
        if is_wanted(options, row.name, row.is_slow):
            for workers in row.workers:
                add((row.work or row.name, workers), row.ours.format(w=workers), row.timeout_s,
                    True)
            for target in row.targets:
                if target.own:
                    add((row.work or row.name, row.workers[0]), target.own, row.timeout_s)
    for bound in rows.BOUNDS:
        if is_wanted(options, bound.name, bound.is_slow) and bound.ours != "size":
            add((bound.name, 0), bound.ours, bound.timeout_s)
    for scaling in rows.SCALINGS:
        if is_wanted(options, scaling.name):
            for workers in (1, 2):
                add((scaling.name, 0), scaling.ours.format(w=workers), 60)
    return wanted


def is_wanted(options, name, is_slow=False):
    return re.search(options.only, name) is not None and not (is_slow and options.quick)


def peers_wanted(options, record):
    """[(block, competitor, work, workers, time-out)] of what the built peers list."""
    wanted = {}
    for peer in record.head["peers"]:
        works = programs.peer_works(options.bin, peer["name"]) if peer["state"] == "built" else {}
        for row in rows.ROWS:
            if not row.work or not is_wanted(options, row.name, row.is_slow):
                continue
            for key in sides_of(row, peer["name"]):
                if key[2] in works.get(key[1], ()):
                    wanted[key] = ((row.work, key[2]), *key, row.timeout_s)
    return list(wanted.values())


def sides_of(row, peer):
    """[(competitor, work, workers)] of a peer in a row: the same work, and what scales others."""
    found = [(peer, row.work, workers) for workers in row.workers]
    known = rows.ELSEWHERE.get(row.work)
    if known is not None and known.reference == peer:
        found += [(rows.reference_side(known, workers), known.work, workers)
                  for workers in row.workers if workers in known.there]
    return found


class Attempt:
    """A cell of the rows with what it takes to sample it."""

    def __init__(self, name, block, cell, command, measure, timeout_s, is_peer):
        self.name = name
        self.block = block
        self.cell = cell
        self.command = command
        self.measure = measure
        self.timeout_s = timeout_s
        self.is_peer = is_peer
        self.longest_s = 0


def attempts_make(options, record):
    attempts = []
    for name, (block, timeout_s, is_twice) in ours_wanted(options).items():
        for side in ("bonxie", "again")[:2 if is_twice else 1]:
            command = programs.bench_command(options.bin, name, options.seconds)
            cell = record.cell(f"{side} {name}", side=side)
            attempts.append(Attempt(f"{side} {name}", block, cell, command, programs.bench,
                                    timeout_s, False))
    for block, side, work, workers, timeout_s in peers_wanted(options, record):
        timeout_s = QUICK_TIMEOUT_S if options.quick else timeout_s
        peer, before = rows.FLAVOURS.get(side, (side, ()))
        command = [*before,
                   *programs.peer_command(options.bin, peer, work, workers, options.seconds)]
        cell = record.cell(f"{side} {work} {workers}", side=side)
        attempts.append(Attempt(f"{side} {work} {workers}", block, cell, command, programs.peer,
                                timeout_s, True))
    return attempts


def middle(cell, *keys):
    values = sorted(sample[key] for sample in cell["samples"] for key in keys if key in sample)
    return values[len(values) // 2] if values else None


def is_hopeless(attempt, attempts, number):
    """A slow peer far behind the best of its block, or one that fails slowly."""
    enough = next((rounds for seconds, rounds in SLOW_ROUNDS if attempt.longest_s >= seconds), None)
    if not attempt.is_peer or enough is None or number < enough:
        return False
    own = middle(attempt.cell, "wall")
    rivals = [middle(other.cell, "wall") for other in attempts
              if other.block == attempt.block and other.is_peer and other is not attempt]
    rivals = [value for value in rivals if value is not None]
    return own is None or bool(rivals) and own > FAR_RATIO * min(rivals)


def rows_round(record, attempts, chance, number, is_over):
    blocks = {}
    for attempt in attempts:
        blocks.setdefault(attempt.block, []).append(attempt)
    order = sorted(blocks)
    chance.shuffle(order)
    for block in order:
        if is_over():
            break
        chance.shuffle(blocks[block])
        for attempt in blocks[block]:
            if attempt.cell["side"] == "again" and attempt.longest_s > SLOW_ROW_S and number % 2:
                continue
            if is_hopeless(attempt, attempts, number):
                attempt.cell["note"] = "fewer rounds: slow, and far from the best"
                continue
            took_s = record.take(attempt.cell, number, attempt.command, attempt.measure,
                                 attempt.timeout_s)
            attempt.longest_s = max(attempt.longest_s, took_s)
    if number == 0:
        slowest = sorted(attempts, key=lambda attempt: -attempt.longest_s)[:SLOWEST_SHOWN]
        say(record, "slowest: " + ", ".join(
            f"{attempt.name} {attempt.longest_s:.1f} s" for attempt in slowest))


def size_take(options, record):
    """The one figure that needs no rounds."""
    if not is_wanted(options, "library"):
        return
    cell = record.cell("bonxie size", side="bonxie", command=["strip", "-o", "...", "libbonxie.so"])
    try:
        cell["samples"].append({"round": 0, "bytes": machine.library_bytes(options.bin)})
    except (OSError, subprocess.SubprocessError) as error:
        record.fail(cell, 0, error)


# ---- Everything ----


def say(record, text):
    passed = int(time.monotonic() - record.began)
    print(f"[{passed // 60:2d}:{passed % 60:02d}] {text}", flush=True)


def section_run(record, name, wanted, one_round):
    """Rounds, until there are enough or the section's time is used up. That cuts the last short."""
    deadline = record.began + 60 * record.options.minutes * SHARES[name]
    last_s = 0

    def is_over():
        return time.monotonic() > deadline

    for number in range(wanted):
        begin = time.monotonic()
        if number > 1 and begin + last_s > deadline:  # the first has more to do than the others
            say(record, f"{name}: the time is used up")
            break
        one_round(number, is_over)
        last_s = time.monotonic() - begin
        record.rounds[name] = [number + (not is_over()), wanted]
        record.write()
        say(record, f"{name}: round {number + 1} of {wanted} took {last_s:.0f} s")


def measure(options):
    record = Record(options)
    chance = random.Random(options.seed)
    say(record, f"seed {options.seed}; {options.minutes:g} minutes at most")
    for peer in record.head["peers"]:
        if peer["state"] != "built":
            say(record, f"peer {peer['name']} is left out: {peer['detail']}")
    size_take(options, record)
    attempts = attempts_make(options, record)
    if attempts:
        say(record, f"rows: {len(attempts)} cells")
        section_run(record, "rows", options.rounds,
                    lambda *how: rows_round(record, attempts, chance, *how))
    service = services.Services(record, chance)
    sections = (("servers", options.server_rounds, service.columns, service.columns_round),
                ("curve", min(options.rounds, CURVE_ROUNDS), service.curve, service.curve_round),
                ("programs", options.rounds, service.programs, service.programs_round))
    for name, wanted, parts, one_round in sections:
        if parts:
            say(record, f"{name}: {', '.join(parts)}")
            section_run(record, name, wanted, one_round)
    record.write()
    failed = sorted(name for name, cell in record.cells.items() if cell["failures"])
    for name in failed:
        say(record, f"failed: {name}: {record.cells[name]['failures'][0]['why']}")
    say(record, f"{len(record.cells)} cells, {len(failed)} with failures: {options.out}")


def options_parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--server-rounds", type=int)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args(arguments)
    options.bin = os.path.abspath(options.bin)
    full = {"minutes": 37, "rounds": 7, "server_rounds": 15}
    quick = {"minutes": 2, "rounds": 2, "server_rounds": 2}
    for name, value in (quick if options.quick else full).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    options.seconds = 0.02 if options.quick else 0.1
    options.load_seconds = 0.15 if options.quick else 0.35
    options.curve_seconds = 0.25 if options.quick else 1.0
    options.connections = (1, 64) if options.quick else rows.CONNECTIONS
    options.command = "bench/run --full" + " --quick" * options.quick + (
        f" --only '{options.only}'" if options.only else "") + f" --seed {options.seed}"
    return options


def main(arguments):
    options = options_parse(arguments)
    os.makedirs(os.path.dirname(os.path.abspath(options.out)), exist_ok=True)
    try:
        measure(options)
    except KeyboardInterrupt:
        print("interrupted; what there is stays in", options.out, file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
