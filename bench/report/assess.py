# SPDX-License-Identifier: MIT
"""From the samples to what the report says: values, ratios, verdicts, targets."""

from dataclasses import dataclass, field

import rows
import stats

MET, MISSED, OPEN = "met", "MISSED", "open"


@dataclass
class Side:
    """One competitor of a row."""

    name: str
    values: dict  # round -> value, in the row's unit
    is_scaled: bool = False
    failures: int = 0
    why: str = ""  # of the first failure
    note: str = ""
    command: list = field(default_factory=list)

    @property
    def median(self):
        return stats.median(self.values.values()) if self.values else None

    @property
    def label(self):
        return self.name + (" (scaled)" if self.is_scaled else "")


@dataclass
class Check:
    """A target and what became of it."""

    text: str
    state: str  # MET, MISSED, or OPEN: there is nothing to compare with
    ratio: stats.Estimate = None
    is_scaled: bool = False
    against: str = ""


@dataclass
class Result:
    """One line of the table."""

    name: str
    group: str
    title: str
    workers: int  # 0: says nothing
    unit: str
    sides: list  # of Side, ours first
    best: Side = None  # of the others
    ratio: stats.Estimate = None  # ours / best
    floor: float = None
    verdict: str = stats.NONE
    checks: list = field(default_factory=list)

    @property
    def ours(self):
        return self.sides[0]

    @property
    def is_scaled(self):
        return self.best is not None and self.best.is_scaled

    @property
    def failed(self):
        """The competitors that did not do their work, ours or others'."""
        return [side for side in self.sides if side.failures]

    @property
    def is_missed(self):
        return any(check.state == MISSED for check in self.checks)


# ---- Samples ----


def side_of(raw, cell_name, name, key, scale=1):
    """A competitor by the id of its cell; without values if it is not there."""
    cell = raw["cells"].get(cell_name)
    if cell is None:
        return Side(name, {})
    values = {sample["round"]: sample[key] * scale for sample in cell["samples"]
              if sample.get(key) is not None}
    failures = cell["failures"]
    return Side(name, values, failures=len(failures), why=failures[0]["why"] if failures else "",
                note=cell.get("note", ""), command=cell.get("server") or cell.get("command", []))


def is_there(side):
    return bool(side.values) or side.failures > 0


def scaled_sides(raw, work, workers):
    """The peers that Debian has not: their figures of elsewhere, scaled round by round."""
    known = rows.ELSEWHERE.get(work)
    if known is None:
        return []
    factors = {}
    if known.reference:
        reference = rows.reference_side(known, workers)
        now = side_of(raw, f"{reference} {known.work} {workers}", reference, "wall")
        there = known.there.get(workers)
        factors = {at: value / there for at, value in now.values.items()} if there else {}
    sides = []
    for name, figures in known.peers.items():
        figure = figures.get(workers)
        if figure is None:
            continue
        if not known.reference:
            factors = dict.fromkeys(_all_rounds(raw), 1)
        if factors:
            sides.append(Side(name, {at: figure * factor for at, factor in factors.items()},
                              is_scaled=True))
    return sides


def _all_rounds(raw):
    return {sample["round"] for cell in raw["cells"].values() for sample in cell["samples"]}


# ---- Comparing ----


def compare(ours, theirs):
    """The estimate of ours / theirs, or None."""
    found = stats.ratios(ours.values, theirs.values)
    return stats.estimate(found) if found else None


def best_of(sides):
    measured = [side for side in sides if side.values]
    return min(measured, key=lambda side: side.median) if measured else None


def floor_of(ours, again):
    ratio = compare(ours, again)
    return stats.noise_floor(ratio) if ratio else None


def check_make(target, ours, theirs, name):
    """A target against one competitor, which may be None."""
    text = f"{'<' if target.is_below else '≤'} {target.limit:g}× {name}"
    if target.upper:
        text += f", upper end ≤ {target.upper:g}"
    if target.or_below:
        text += f" or ≤ {target.or_below:g}"
    ratio = compare(ours, theirs) if theirs is not None else None
    if target.or_below and ours.values and ours.median <= target.or_below:
        return Check(text, MET, ratio, theirs is not None and theirs.is_scaled, name)
    if ratio is None:
        return Check(text, OPEN, against=name)
    is_met = ratio.median < target.limit if target.is_below else ratio.median <= target.limit
    is_met = is_met and (not target.upper or ratio.high <= target.upper)
    return Check(text, MET if is_met else MISSED, ratio, theirs.is_scaled, name)


def judge(result, others):
    """Sets the best of the others, the ratio to it and the verdict."""
    result.best = best_of(others)
    if result.best is not None:
        result.ratio = compare(result.ours, result.best)
    if result.ratio is not None:
        result.verdict = stats.verdict(result.ratio, result.floor)


# ---- Rows ----


def target_check(raw, target, ours, others):
    if target.own:
        own = side_of(raw, f"bonxie {target.own}", target.own, "real_time")
        return check_make(target, ours, own if own.values else None, target.own)
    named = [side for side in others if not target.against or side.name in target.against]
    best = best_of(named)
    name = best.label if best else " or ".join(target.against) or "the best peer"
    return check_make(target, ours, best, name)


def row_result(raw, row, workers):
    bench = row.ours.format(w=workers)
    ours = side_of(raw, f"bonxie {bench}", "bonxie", row.value, row.scale)
    again = side_of(raw, f"again {bench}", "again", row.value, row.scale)
    names = [peer["name"] for peer in raw["peers"]] + list(rows.FLAVOURS)
    others = [side_of(raw, f"{name} {row.work} {workers}", name, row.peer_value)
              for name in names if row.work]
    others = [side for side in others if is_there(side)] + scaled_sides(raw, row.work, workers)
    result = Result(f"{row.name}.{workers}", row.group, row.title, workers, row.unit,
                    [ours, *others], floor=floor_of(ours, again))
    judge(result, others)
    result.checks = [target_check(raw, target, ours, others) for target in row.targets
                     if not target.workers or workers in target.workers]
    return result


def bound_result(raw, bound):
    ours = side_of(raw, f"bonxie {bound.ours}", "bonxie", bound.value, bound.scale)
    result = Result(bound.name, bound.group, bound.title, 0, bound.unit, [ours])
    text = f"≤ {bound.limit:,g} {bound.unit}".rstrip()
    state = OPEN if not ours.values else MET if ours.median <= bound.limit else MISSED
    result.checks = [Check(text, state)]
    return result


def scaling_result(raw, scaling):
    one, two = (side_of(raw, f"bonxie {scaling.ours.format(w=workers)}", f"bonxie, {workers}",
                        "real_time") for workers in (1, 2))
    result = Result(scaling.name, rows.SCALING, scaling.title, 2, "ns", [two, one])
    ratio = compare(two, one)
    speed_up = compare(one, two)
    state = OPEN if ratio is None else MET if speed_up.median >= scaling.least else MISSED
    result.checks = [Check(f"speed-up ≥ {scaling.least:g}", state, speed_up)]
    result.ratio = ratio
    return result


# ---- Servers ----


def server_sides(raw, column, key):
    """name -> side of a column, and name -> kind."""
    sides, kinds = {}, {}
    for server in rows.SERVERS:
        side = side_of(raw, f"{server.name} {column}", server.name, key)
        if is_there(side):
            sides[server.name], kinds[server.name] = side, server.kind
    return sides, kinds


def column_results(raw, protocol, workers, connections):
    """CPU per request of one column: against the bare loops, and against the peers."""
    column = f"{protocol}.{workers}.{connections}"
    sides, kinds = server_sides(raw, column, "cpu")
    if "bonxie" not in sides:
        return []
    results = []
    title = f"{protocol}, {connections:,} connection{'s' * (connections > 1)}"
    floor = floor_of(sides["bonxie"], sides.get("again", Side("again", {})))
    for group, kind, what in ((rows.BARE, "bare", "the best bare loop"),
                              (rows.PEERS, "peer", "the best peer")):
        target = rows.PEER_TARGET if kind == "peer" else (
            rows.BARE_TARGET_ONE if connections == 1 else rows.BARE_TARGET)
        others = [sides[name] for name in sides if kinds[name] == kind]
        result = Result(f"{column}.{kind}", group, title, workers, "us", [sides["bonxie"], *others],
                        floor=floor)
        judge(result, others)
        result.checks = [check_make(target, result.ours, result.best,
                                    result.best.name if result.best else what)]
        results.append(result)
    return results


def spin_result(raw, protocol):
    """Latency of one connection with the spin that comes by default, against loops that sleep."""
    sides, kinds = server_sides(raw, f"{protocol}.1.1", "p50")
    if "bonxie-spin" not in sides:
        return []
    others = [sides[name] for name in sides if kinds[name] == "bare"]
    # Two samples of ours that do not spin show how far a latency repeats.
    floor = floor_of(sides.get("bonxie", Side("", {})), sides.get("again", Side("", {})))
    title = f"{protocol}, 1 connection, p50 with default spin"
    cpu = side_of(raw, f"bonxie-spin {protocol}.1.1", "", "cpu").median
    if cpu is not None:
        title += f" (CPU {cpu:.1f} us)"
    result = Result(f"{protocol}.spin", rows.BARE, title, 1, "us", [sides["bonxie-spin"], *others],
                    floor=floor)
    judge(result, others)
    result.checks = [check_make(rows.SPIN_TARGET, result.ours, result.best,
                                result.best.name if result.best else "the best bare loop")]
    return [result]


def sharing_result(raw, protocol):
    connections = rows.CONNECTIONS[-1]
    one, two = (side_of(raw, f"bonxie {protocol}.{workers}.{connections}", f"bonxie, {workers}",
                        "cpu") for workers in (1, 2))
    if not (one.values and two.values):
        return []
    result = Result(f"{protocol}.sharing", rows.SCALING,
                    f"{protocol}, {connections:,} connections, CPU per request", 2, "us",
                    [two, one])
    result.ratio = compare(two, one)
    result.checks = [check_make(rows.SHARING_TARGET, two, one, "one worker")]
    return [result]


def program_results(raw):
    results = []
    columns = sorted({name.partition(" ")[2] for name in raw["cells"]
                      if name.startswith("bonxie ") and ("cache." in name or "proxy." in name)})
    for column in columns:
        kind, _, rest = column.partition(".")
        peer = "redis" if kind == "cache" else "haproxy"
        title = f"proxy, {rest} connections"
        if kind == "cache":
            title = f"cache, {rest.replace('.', ', pipeline ')}, 64 connections"
        results += program_result(raw, column, title, "bonxie", peer)
    for column in ("http.1.64", "http.2.64"):
        title = "httpd, 64 connections"
        results += program_result(raw, column, title, "bonxie", "nginx", int(column.split(".")[1]))
    return results


def program_result(raw, column, title, our_name, peer, workers=1):
    ours, again, theirs = (side_of(raw, f"{name} {column}", name, "cpu")
                           for name in (our_name, "again", peer))
    if not is_there(ours):
        return []
    result = Result(f"{column}.{peer}", rows.PROGRAMS, f"{title}, CPU per request", workers, "us",
                    [ours] + [theirs] * is_there(theirs), floor=floor_of(ours, again))
    judge(result, [theirs])
    result.checks = [check_make(rows.PROGRAM_TARGET, ours, theirs if theirs.values else None, peer)]
    return [result]


# ---- All ----


def assess(raw):
    """Every line of the table, in its order; lines of which nothing was measured are left out."""
    results = [row_result(raw, row, workers) for row in rows.ROWS for workers in row.workers]
    results += [bound_result(raw, bound) for bound in rows.BOUNDS]
    results += [scaling_result(raw, scaling) for scaling in rows.SCALINGS]
    for protocol in rows.PROTOCOLS:
        results += sharing_result(raw, protocol)
    for protocol in rows.PROTOCOLS:
        for workers in rows.SERVER_WORKERS:
            for connections in rows.CONNECTIONS:
                results += column_results(raw, protocol, workers, connections)
        results += spin_result(raw, protocol)
    results += program_results(raw)
    results = [result for result in results if any(is_there(side) for side in result.sides[:1])]
    groups = list(dict.fromkeys(result.group for result in results))
    return sorted(results, key=lambda result: groups.index(result.group))


def losses(results):
    return [result for result in results if result.verdict == stats.LOSS]


def missed(results):
    return _checks(results, MISSED)


def opened(results):
    return _checks(results, OPEN)


def _checks(results, state):
    return [(result, check) for result in results for check in result.checks
            if check.state == state]


def failed(results):
    """[(title, competitor, reason)], each cell once."""
    found = {}
    for result in results:
        for side in result.failed:
            found[result.title, result.workers, side.name] = (result, side)
    return list(found.values())
