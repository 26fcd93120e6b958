# SPDX-License-Identifier: MIT
"""The report as one page that needs nothing else: no script, no font, no picture from elsewhere."""

import html
import os
import shlex

import assess
import draw
import machine
import stats
import twin

CSS_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.css")
VERDICT_CLASS = {stats.WIN: "win", stats.TIE: "tie", stats.LOSS: "loss", stats.NONE: "none"}
STATE_MARK = {assess.MET: "✓", assess.MISSED: "✗", assess.OPEN: "·"}


def esc(said):
    return html.escape(str(said))


def html_of(raw, results, figures):
    with open(CSS_FILE, encoding="utf-8") as file:
        css = draw.style() + "\n" + file.read()
    parts = [_head(raw, results), _lists(raw, results), _table(results)]
    sections = {}
    for figure in figures:
        sections.setdefault(figure.section, []).append(figure)
    for name, chosen in sections.items():
        parts.append(_figures(name, chosen))
    parts += [_witness(raw), _facts("Machine", twin.facts(raw)),
              _facts("Peers", twin.peer_lines(raw)), _method(), _commands(raw)]
    body = "\n".join(part for part in parts if part)
    return ('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
            "<title>bonxie beside its peers</title>\n"
            f"<style>\n{esc_style(css)}\n</style>\n</head>\n"
            f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n")


def esc_style(css):
    """A style has no entities in HTML; without these two it is the same in XML."""
    if "<" in css or "&" in css:
        raise ValueError("the style sheet has < or &")
    return css


def _head(raw, results):
    changes = " + changes" if raw["build"]["is_dirty"] == "yes" else ""
    commit = raw["build"]["commit"][:12] + changes
    line = " · ".join((raw["begin"]["time"], "commit " + commit, raw["machine"]["CPU"],
                       raw["machine"]["CPUs"] + " CPUs", "Linux " + raw["machine"]["kernel"]))
    warnings = machine.warnings(raw)
    said = "".join(f"<li>{esc(warning)}</li>" for warning in warnings)
    box = f'<aside class="warnings"><h2>Warnings</h2><ul>{said}</ul></aside>' if warnings else ""
    return (f"<header><h1>bonxie beside its peers</h1>\n<p class=\"meta\">{esc(line)}</p>\n"
            f'<p class="sum">{esc(twin.summary(results))}</p>\n{box}</header>')


def _list(name, kind, lines):
    items = "".join(f"<li>{esc(line)}</li>" for line in lines) or "<li>none</li>"
    return (f'<section class="list {kind}"><h2>{esc(name)} ({len(lines)})</h2>'
            f"<ul>{items}</ul></section>")


def _lists(raw, results):
    wins = [twin.loss(result) for result in results if result.verdict == stats.WIN]
    return '<div class="lists">' + "\n".join((
        _list("Losses", "loss", [twin.loss(result) for result in assess.losses(results)]),
        _list("Wins", "win", wins),
        _list("Targets missed", "loss broad",
              [twin.missed(*pair) for pair in assess.missed(results)]),
        _list("Failed", "loss", [twin.failed(*pair) for pair in assess.failed(results)]),
        _list("Nothing to compare with", "none",
              [twin.opened(*pair) for pair in assess.opened(results)]),
    )) + "</div>"


def _table(results):
    lines, group = [], None
    for result in results:
        if result.group != group:
            group = result.group
            lines.append(f'<tr class="group"><th colspan="7">{esc(group)}</th></tr>')
        lines.append(_line(result))
    return ('<section><h2>Verdicts</h2>\n<p class="note">Less is better. A ratio is bonxie / best '
            "other, with the interval of its median.</p>\n"
            '<div class="wide"><table>\n<thead><tr><th>work</th><th>bonxie</th><th>best other</th>'
            "<th>ratio</th><th>noise</th><th>verdict</th><th>targets</th></tr></thead>\n<tbody>\n"
            + "\n".join(lines) + "\n</tbody></table></div></section>")


def _line(result):
    best = result.best
    other = "–"
    if best is not None:
        other = f"{esc(twin.value(result, best))} <small>{esc(best.label)}</small>"
    checks = "<br/>".join(
        f'<span class="check {check.state.lower()}">{STATE_MARK[check.state]} '
        f"{esc(twin.check(check))}</span>" for check in result.checks)
    floor = f"{100 * result.floor:.1f} %" if result.floor is not None else "–"
    kind = VERDICT_CLASS[result.verdict]
    small = "".join(f"<br/><small>{esc(reserve)}</small>" for reserve in twin.reserves(result))
    failed = "".join(f'<br/><small class="failed">{esc(side.name)} failed {side.failures}×</small>'
                     for side in result.failed)
    return (f'<tr class="{kind}"><td>{esc(twin.title(result))}{failed}</td>'
            f'<td class="number">{esc(twin.value(result, result.ours))}</td>'
            f'<td class="number">{other}</td>'
            f'<td class="number">{esc(twin.ratio(result.ratio)) if result.ratio else "–"}</td>'
            f'<td class="number">{floor}</td><td class="verdict">{esc(result.verdict)}{small}</td>'
            f"<td>{checks}</td></tr>")


def _figures(name, figures):
    shown = []
    for figure in figures:
        note = f"{esc(figure.note)} " if figure.note else ""
        commands = "".join(f"<li><code>{esc(shlex.join(words))}</code></li>"
                           for words in figure.commands)
        more = f"<details><summary>one sample each</summary><ul>{commands}</ul></details>" \
            if commands else ""
        kind = ' class="broad"' if figure.canvas.width > 700 else ""
        shown.append(f"<figure{kind}>\n{draw.svg(figure.canvas)}\n<figcaption>{note}"
                     f"<code>{esc(figure.command)}</code>{more}</figcaption>\n</figure>")
    inside = '<div class="figures">' + "\n".join(shown) + "</div>"
    return f"<section><h2>{esc(name)}</h2>\n{inside}</section>"


def _witness(raw):
    """The same servers driven by wrk: bonxie-load is our own, so another one is asked as well."""
    lines = []
    for name in ("bonxie", "bare-epoll"):
        told = [assess.side_of(raw, f"{name} {column}", name, key) for key in ("rate", "cpu")
                for column in ("http.1.64", "witness.wrk")]
        if all(side.values for side in told):
            cells = "".join(f'<td class="number">{twin.charts.number(side.median)}</td>'
                            for side in told)
            lines.append(f"<tr><td>{esc(name)}</td>{cells}</tr>")
    if not lines:
        return ""
    return ('<section><h2>A witness</h2>\n<p class="note">/plaintext, 64 connections, 1 worker: '
            "what bonxie-load says and what wrk says.</p>\n<table><thead><tr><th>server</th>"
            "<th>requests/s, bonxie-load</th><th>wrk</th><th>CPU us, bonxie-load</th><th>wrk</th>"
            f"</tr></thead><tbody>{''.join(lines)}</tbody></table>"
            "<p><code>bench/run --full --only 'witness|^http.1.64$'</code></p></section>")


def _facts(name, pairs):
    lines = "".join(f"<tr><th>{esc(key)}</th><td>{esc(said)}</td></tr>" for key, said in pairs)
    return (f'<section><h2>{esc(name)}</h2><table class="facts"><tbody>{lines}</tbody></table>'
            "</section>")


def _method():
    said = "\n".join(f"<p>{esc(line)}</p>" for line in twin.METHOD)
    return f"<section><h2>How to read it</h2>\n{said}</section>"


def _commands(raw):
    """What was run for one sample of every cell."""
    lines = []
    for name, cell in sorted(raw["cells"].items()):
        words = [cell[key] for key in ("server", "command") if cell.get(key)]
        said = " & ".join(shlex.join(one) for one in words)
        counts = f"{len(cell['samples'])} samples" + (
            f", {len(cell['failures'])} failed" if cell["failures"] else "")
        lines.append(f"<tr><td>{esc(name)}</td><td>{counts}</td><td><code>{esc(said)}</code></td>"
                     "</tr>")
    return ("<section><h2>Every cell</h2><details><summary>commands; the samples are in raw.json"
            f"</summary><table class=\"cells\"><tbody>{''.join(lines)}</tbody></table></details>"
            "</section>")
