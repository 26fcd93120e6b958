# SPDX-License-Identifier: MIT
"""Which charts the report has, and the command that makes each anew."""

import re
from dataclasses import dataclass

import assess
import charts
import rows
import stats

VERDICT_COLORS = {stats.WIN: "blue", stats.TIE: "soft", stats.LOSS: "vermillion",
                  stats.NONE: "soft"}


@dataclass
class Figure:
    name: str  # of the PNG
    section: str
    canvas: charts.draw.Canvas
    only: str  # for bench/run --full --only
    commands: list  # of words: what is run for one sample of each competitor
    note: str = ""

    @property
    def command(self):
        return "bench/run --full" + (f" --only '{self.only}'" if self.only else "")


OVERVIEW, ROW_BOXES, SPEED_UP, MEMORY, SERVERS, CURVE, COLUMNS, PROGRAMS, NOISE = (
    "All ratios", "Each row", "From one worker to two", "Memory of a task",
    "Servers: CPU per request and throughput", "Latency against arrivals",
    "Servers: each column", "Programs", "Noise floor")


def commands_of(sides):
    return list(dict.fromkeys(tuple(side.command) for side in sides if side.command))


def workers_said(workers):
    return {0: "", 1: ", 1 worker"}.get(workers, f", {workers} workers")


# ---- Ratios ----


def overview(results):
    found = []
    compared = [result for result in results if None not in (result.ratio, result.best)]
    for name, what, is_of_servers in (("ratios", "rows and programs", False),
                                      ("ratios-servers", "servers", True)):
        chosen = [result for result in compared
                  if (result.group in (rows.BARE, rows.PEERS)) == is_of_servers]
        entries = []
        for result in chosen:
            target = next((check for check in result.checks
                           if check.against in (result.best.name, result.best.label)), None)
            limit = re.match(r"[<≤] ([\d.]+)×", target.text) if target else None
            entries.append(charts.Interval(
                result.title + workers_said(result.workers), result.ratio,
                VERDICT_COLORS[result.verdict], result.is_scaled, float(limit[1]) if limit else 0,
                f"{charts.number(result.ratio.median)}  {result.best.name}"))
        if entries:
            canvas = charts.intervals(f"bonxie / best other, less is better: {what}", entries,
                                      "ratio with its interval; tick: target", width=1080, left=450)
            found.append(Figure(
                name, OVERVIEW, canvas, "", [],
                "Blue: a win. Grey: a tie. Red: a loss. Hollow: scaled, not measured here."))
    return found


def noise(raw):
    entries = []
    for name in raw["cells"]:
        side, _, rest = name.partition(" ")
        if side == "again":
            for key in ("real_time", "cpu"):
                ratio = assess.compare(assess.side_of(raw, f"bonxie {rest}", "bonxie", key),
                                       assess.side_of(raw, name, "again", key))
                if ratio is not None:
                    entries.append(charts.Interval(rest, ratio))
    if not entries:
        return []
    return [Figure("noise", NOISE, charts.intervals(
        "bonxie / bonxie, measured as two competitors", entries, "ratio with its interval",
        width=860, left=330), "", [], "How far each is from 1 is the noise floor of its row.")]


# ---- Rows ----


def box_entries(results, divisor):
    entries = []
    for result in results:
        sides = sorted(result.sides, key=lambda side: side.median or float("inf"))
        is_first = True
        for side in sides:
            if side.values or side.failures:
                label = side.name + (f" · {result.workers}" if len(results) > 1 else "")
                entries.append(charts.BoxEntry(
                    label, [value / divisor for value in side.values.values()],
                    side is result.ours, side.is_scaled, side.why if side.failures else "",
                    "scaled" if side.is_scaled else "", is_first))
                is_first = False
    return entries


def box_figure(results, section, name, title, only):
    unit = {"us": "us of CPU a request"}.get(results[0].unit, results[0].unit)
    medians = [side.median for result in results for side in result.sides if side.values]
    divisor = 1
    if unit == "ns" and medians and min(medians) >= 1e4:
        unit, divisor = "us", 1e3
    entries = box_entries(results, divisor)
    if not entries:
        return []
    note = "After the name: workers." if len(results) > 1 else ""
    commands = commands_of(side for result in results for side in result.sides)
    return [Figure(name, section, charts.boxes(title, entries, unit), only, commands, note)]


def row_boxes(results):
    found = []
    by_name = {result.name: result for result in results}
    for row in rows.ROWS:
        chosen = [by_name[f"{row.name}.{workers}"] for workers in row.workers
                  if f"{row.name}.{workers}" in by_name]
        if chosen:
            title = row.title + (workers_said(chosen[0].workers) if len(chosen) == 1 else "")
            found += box_figure(chosen, ROW_BOXES, row.name, title, f"^{row.name}$")
    return found


def column_boxes(results):
    found = []
    for protocol in rows.PROTOCOLS:
        for workers in rows.SERVER_WORKERS:
            for connections in rows.CONNECTIONS:
                column = f"{protocol}.{workers}.{connections}"
                chosen = [result for result in results
                          if result.name in (column + ".bare", column + ".peer")]
                if not chosen:
                    continue
                merged = assess.Result(column, "", "", workers, "us",
                                       [*chosen[0].sides, *chosen[-1].sides[1:]])
                title = f"{protocol}, {connections:,} connections{workers_said(workers)}"
                found += box_figure([merged], COLUMNS, column, title, "^" + re.escape(column) + "$")
    return found


def program_boxes(results):
    found = []
    for result in results:
        if result.group == rows.PROGRAMS:
            column = result.name.rpartition(".")[0]
            only = column if column.startswith("http") else column.partition(".")[0]
            found += box_figure([result], PROGRAMS, "program-" + column,
                                result.title + workers_said(result.workers), "^" + re.escape(only))
    return found


def speed_up(raw, results):
    entries = []
    for scaling in rows.SCALINGS:
        result = next((r for r in results if r.name == scaling.name), None)
        if result is not None and result.checks[0].ratio is not None:
            entries.append(charts.Interval(scaling.title, result.checks[0].ratio, "blue",
                                           target=scaling.least))
    for row in rows.ROWS:
        if row.name not in ("spawn_1000", "skynet_tasks", "fib", "skynet_forks"):
            continue
        for peer in raw["peers"]:
            one, two = (assess.side_of(raw, f"{peer['name']} {row.work} {workers}", peer["name"],
                                       "wall") for workers in (1, 2))
            ratio = assess.compare(one, two)
            if ratio is not None:
                entries.append(charts.Interval(f"{peer['name']}: {row.title}", ratio))
    if not entries:
        return []
    return [Figure("speed-up", SPEED_UP, charts.intervals(
        "Time with one worker / time with two, more is better", entries, "speed-up; tick: target",
        is_log=False, width=860, left=400), "scale_", [], "Blue: bonxie. Grey: peers.")]


def memory(results):
    result = next((r for r in results if r.name == "idle_task.1"), None)
    if result is None or not result.ours.values:
        return []
    entries = [(side.name + (" (scaled)" if side.is_scaled else ""), side.median,
                side is result.ours, side.is_scaled)
               for side in sorted(result.sides, key=lambda side: side.median or 0) if side.values]
    canvas = charts.bars("Resident bytes of a parked task", entries, "bytes")
    return [Figure("memory", MEMORY, canvas, "^idle_", commands_of(result.sides),
                   "Tasks with a stack of their own have at least a page of it; Tokio's and "
                   "Python's have none. Hollow: figures of another machine, as they are.")]


# ---- Servers ----


def estimates(raw, names, column, key):
    found = {}
    for name in names:
        side = assess.side_of(raw, f"{name} {column}", name, key)
        if side.values:
            found[name] = stats.estimate(side.values.values())
    return found


def server_lines(raw):
    found = []
    names = [server.name for server in rows.SERVERS if server.kind != "again"]
    for key, what, unit in (("cpu", "CPU per request", "us"),
                            ("rate", "throughput, closed loop", "requests/s")):
        for protocol in rows.PROTOCOLS:
            for workers in rows.SERVER_WORKERS:
                series = {}
                measured = [connections for connections in rows.CONNECTIONS
                            if f"bonxie {protocol}.{workers}.{connections}" in raw["cells"]]
                for i, connections in enumerate(measured):
                    column = f"{protocol}.{workers}.{connections}"
                    for name, value in estimates(raw, names, column, key).items():
                        series.setdefault(name, {})[i] = value
                series.pop("bonxie-spin", None)  # measured with one connection alone
                if series:
                    title = f"{protocol}: {what}{workers_said(workers)}"
                    canvas = charts.lines(title, [f"{c:,}" for c in measured], series, unit,
                                          "connections", is_log=key == "cpu")
                    found.append(Figure(f"{protocol}-{workers}-{key}", SERVERS, canvas,
                                        f"^{protocol}.{workers}", []))
    return found


def curve(raw):
    found = []
    capacity = raw.get("echo_capacity")
    if not capacity:
        return found
    for key, said in (("p50", "p50"), ("p99", "p99"), ("p99_9", "p99.9")):
        series = {}
        for i, part in enumerate(rows.CURVE_PARTS):
            column = f"curve.{round(100 * part)}"
            for name, value in estimates(raw, rows.CURVE_SERVERS, column, key).items():
                series.setdefault(name, {})[i] = value
        if series:
            ticks = [f"{part * capacity / 1000:.1f}k" for part in rows.CURVE_PARTS]
            canvas = charts.lines(f"echo, 64 connections, 1 worker: {said}", ticks, series, "us",
                                  "requests due a second, at random times", is_log=True)
            found.append(Figure(f"curve-{key}", CURVE, canvas, "^curve$", [],
                                "Latency counts from when a request was due."))
    return found


def make(raw, results):
    return (overview(results) + row_boxes(results) + speed_up(raw, results) + memory(results)
            + server_lines(raw) + curve(raw) + column_boxes(results) + program_boxes(results)
            + noise(raw))
