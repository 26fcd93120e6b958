# SPDX-License-Identifier: MIT
"""The report as text, and the phrases that text and page share."""

import assess
import charts
import machine
import rows
import stats


def summary(results):
    verdicts = [result.verdict for result in results]
    checks = [check.state for result in results for check in result.checks]
    return (f"{_count(verdicts.count(stats.WIN), 'win')}, "
            f"{_count(verdicts.count(stats.TIE), 'tie')}, "
            f"{_count(verdicts.count(stats.LOSS), 'loss', 'losses')}; targets: "
            f"{checks.count(assess.MET)} met, {checks.count(assess.MISSED)} missed, "
            f"{checks.count(assess.OPEN)} open")


def _count(n, one, many=""):
    return f"{n} {one if n == 1 else many or one + 's'}"


def value(result, side):
    """With a unit that a reader can take in."""
    if not side.values:
        return "failed"
    median, unit = side.median, result.unit
    for limit, more in ((1e7, "ms"), (1e4, "us")):
        if unit == "ns" and median >= limit:
            median, unit = median / {"ms": 1e6, "us": 1e3}[more], more
    return f"{charts.number(median)} {unit}".rstrip()


def ratio(estimate):
    if estimate.count == 1:
        return f"{charts.number(estimate.median)} (one round)"
    return (f"{charts.number(estimate.median)} [{charts.number(estimate.low)}, "
            f"{charts.number(estimate.high)}]")


def verdict(result):
    return ", ".join([result.verdict, *reserves(result)])


def reserves(result):
    """What makes a verdict worth less."""
    if result.verdict == stats.NONE:
        return []
    return ["scaled"] * result.is_scaled + ["few rounds"] * (not result.ratio.is_certain)


def check(one):
    said = f"{one.text}: {one.state}"
    if one.ratio is not None:
        said += f", {charts.number(one.ratio.median)}"
        if one.is_scaled:
            said += " scaled"
    return said


def title(result):
    workers = {0: "", 1: ", 1 worker"}.get(result.workers, f", {result.workers} workers")
    return result.title + workers


def loss(result):
    return f"{title(result)}: {ratio(result.ratio)} of {result.best.label}"


def missed(result, one):
    said = f"{title(result)}: {one.text}"
    if one.ratio is not None:
        return f"{said}; it is {ratio(one.ratio)}" + (", scaled" if one.is_scaled else "")
    return f"{said}; it is {value(result, result.ours)}"


def opened(result, one):
    return f"{title(result)}: {one.text}"


def failed(result, side):
    times = f"{side.failures} of {side.failures + len(side.values)} samples"
    return f"{title(result)}: {side.name}, {times}: {side.why}"


def facts(raw):
    """(name, text) of the machine and the run."""
    begin, end = raw["begin"], raw["end"]
    return [*raw["machine"].items(),
            ("commit", raw["build"]["commit"] + (", changed" if raw["build"]["is_dirty"] == "yes"
                                                 else "")),
            ("compiler", f"{raw['build']['compiler']}; {raw['build']['flags']}"),
            ("measured", f"{begin['time']} to {end['time']}"),
            ("load", f"{begin['load']:.2f} at the start, {end['load']:.2f} at the end (our own)"),
            ("steal", f"{machine.steal_percent(begin, end):.2f} % of the CPU time"),
            ("command", raw["command"])]


def peer_lines(raw):
    """(name, what it is) of the peers, the absent ones with the reason."""
    found = [(peer["name"], peer["detail"] if peer["state"] == "built"
              else f"left out: {peer['detail']}") for peer in raw["peers"]]
    known = {name for name, _ in found}
    return found + [(name, f"left out: {why}")
                    for name, why in raw.get("absent_servers", {}).items() if name not in known]


METHOD = (
    "A sample is one short run of one program, in a process of its own. A round takes a sample of "
    "every competitor of a row, one after the other, in an order drawn anew each round; ratios are "
    "of samples of one round, and what stands here is their median.",
    "In brackets is the interval of that median, by order statistics: at least 95 % from six "
    "rounds on. No distribution is assumed.",
    "Noise is how far ourselves against ourselves, measured as two competitors, may be from 1. A "
    "win or a loss is a ratio whose interval does not contain 1 and that is further from 1 than "
    "the noise; all else is a tie.",
    "Scaled: " + rows.ELSEWHERE_SOURCE,
    "CPU per request is the server's alone, from its process clock, children included. The "
    "generator runs on the same CPUs. All but the row with the default spin are with "
    "BONXIE_SPIN_US=0.",
)


def text(raw, results):
    lines = ["bonxie beside its peers", "=" * 23, "", summary(results), ""]
    lines += _section("Warnings", machine.warnings(raw))
    lines += _section("Losses", [loss(result) for result in assess.losses(results)])
    lines += _section("Targets missed", [missed(*pair) for pair in assess.missed(results)])
    lines += _section("Wins", [loss(result) for result in results if result.verdict == stats.WIN])
    lines += _section("Failed", [failed(*pair) for pair in assess.failed(results)])
    lines += _section("Nothing to compare with", [opened(*pair) for pair in assess.opened(results)])
    lines += _table(results)
    lines += _section("Machine", [f"{name}: {said}" for name, said in facts(raw)])
    lines += _section("Peers", [f"{name}: {said}" for name, said in peer_lines(raw)])
    lines += _section("How to read it", METHOD)
    return "\n".join(lines)


def _section(name, lines):
    return [name, "-" * len(name), *(f"  {line}" for line in lines or ["none"]), ""]


def _table(results):
    head = ("work", "bonxie", "best other", "ratio", "noise", "verdict", "targets")
    table = [head]
    for result in results:
        best = result.best
        table.append((
            title(result), value(result, result.ours),
            f"{value(result, best)} {best.label}" if best else "-",
            ratio(result.ratio) if result.ratio else "-",
            f"{100 * result.floor:.1f} %" if result.floor is not None else "-",
            verdict(result), "; ".join(map(check, result.checks))))
    widths = [max(len(line[i]) for line in table) for i in range(len(head) - 1)]
    found, group = [], None
    for line, result in zip(table, [None, *results]):
        if result is not None and result.group != group:
            group = result.group
            found += ["", group]
        words = (word.ljust(width) for word, width in zip(line, [*widths, 0]))
        found.append("  ".join(words).rstrip())
    return [*found, ""]


# ---- The targets alone, in Markdown ----


def table(raw, results):
    """A line for each target: what the limit is and what was reached."""
    lines = [f"Measured {raw['begin']['time']}, commit {raw['build']['commit'][:12]}, by "
             f"`{raw['command']}`; {summary(results)}.", "",
             "| work | bonxie | target | reached | |", "|---|---|---|---|---|"]
    for result in results:
        for one in result.checks:
            lines.append("| " + " | ".join((
                title(result), value(result, result.ours), one.text, _reached(result, one),
                f"**{one.state}**" if one.state == assess.MISSED else one.state)) + " |")
    return "\n".join(lines)


def _reached(result, one):
    if one.ratio is not None:
        return ratio(one.ratio) + (", scaled" if one.is_scaled else "")
    return "nothing to compare with" if one.state == assess.OPEN else value(result, result.ours)
