# SPDX-License-Identifier: MIT
"""The report's charts, each a canvas: intervals, boxes, lines, bars."""

import math
from dataclasses import dataclass

import draw
import stats

HEADING = 13.5
FONT = 12.0
SMALL = 10.5
ROW = 21.0
# name -> (colour, marker, dash); what is not here takes a turn of the others.
SERIES = {
    "bonxie": ("blue", "dot", ""),
    "bonxie-spin": ("blue", "diamond", "5 3"),
    "bare-epoll": ("ink", "square", "2 2"),
    "bare-ring": ("soft", "up", "2 2"),
    "bare-multishot": ("soft", "down", "6 2"),
    "tokio": ("vermillion", "dot", ""),
    "go": ("green", "square", ""),
    "libuv": ("orange", "diamond", ""),
    "asio": ("purple", "up", ""),
    "nginx": ("violet", "down", ""),
    "asyncio": ("brown", "dot", ""),
}
OTHERS = ("purple", "violet", "brown", "orange", "green", "vermillion")


def series_of(name):
    if name in SERIES:
        return SERIES[name]
    turn = sum(map(ord, name))
    return OTHERS[turn % len(OTHERS)], draw.MARKERS[turn % len(draw.MARKERS)], ""


def number(value):
    """With three digits, as a reader wants it."""
    if value is None:
        return "–"
    exact, value = value, float(f"{value:.3g}")
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{exact:,.0f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(digits, 0), 4)}f}"


def tick_number(value):
    """As short as an axis needs it."""
    for limit, letter in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / {'M': 1e6, 'k': 1e3}[letter]:g}{letter}"
    return f"{value:,g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.0e}"


class Scale:
    """Values onto pixels, linear or logarithmic, with its ticks."""

    def __init__(self, values, begin, end, is_log=False, includes=()):
        wanted = [value for value in [*values, *includes] if not is_log or value > 0] or [1]
        self.is_log = is_log
        low, high = min(wanted), max(wanted)
        if is_log:
            low, high = low / 1.15, high * 1.15
        else:
            low = min(low, 0)
            high = high + (high - low or 1) * 0.06
        self.low, self.high = low, high
        self.begin, self.end = begin, end

    def at(self, value):
        if self.is_log:
            value = max(value, self.low)
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.begin + (self.end - self.begin) * part

    def ticks(self):
        if not self.is_log:
            step = 10 ** math.floor(math.log10((self.high - self.low) / 4 or 1))
            step *= next(f for f in (1, 2, 5, 10) if (self.high - self.low) / (step * f) <= 6)
            return [step * i for i in range(math.ceil(self.low / step - 1e-9),
                                            math.floor(self.high / step + 1e-9) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            found = [factor * 10.0**d for d in decades for factor in factors
                     if self.low <= factor * 10.0**d <= self.high]
            if len(found) <= 9:
                break
        return found


def is_wide(values):
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) / min(positive) > 12


def x_axis(canvas, scale, top, bottom, unit):
    for value in scale.ticks():
        x = scale.at(value)
        canvas.line([(x, top), (x, bottom)], "faint")
        canvas.text(x, bottom + 14, tick_number(value), SMALL, "soft", "middle")
    if unit:
        canvas.text(scale.end, bottom + 29, unit + (", logarithmic" if scale.is_log else ""), SMALL,
                    "soft", "end")


def heading(canvas):
    """The title, smaller when it would not fit."""
    size = min(HEADING, canvas.width / draw.text_width(canvas.title, 1.05))
    canvas.text(0, 16, canvas.title, size, is_bold=True)


# ---- Boxes ----


@dataclass
class BoxEntry:
    label: str
    values: list
    is_ours: bool = False
    is_scaled: bool = False
    failed: str = ""  # instead of values, or beside them
    after: str = ""  # said behind the values
    is_first: bool = False  # of a group


def boxes(title, entries, unit, width=520):
    """Median, quartiles, extremes and every sample of each; the best first."""
    left = 128.0
    right = width - 64.0
    top = 34.0
    bottom = top + ROW * len(entries)
    canvas = draw.Canvas(width, bottom + 36, title)
    heading(canvas)
    values = [value for entry in entries for value in entry.values]
    scale = Scale(values, left, right, is_wide(values))
    x_axis(canvas, scale, top, bottom, unit)
    for i, entry in enumerate(entries):
        y = top + ROW * (i + 0.5)
        color = "blue" if entry.is_ours else "soft"
        if entry.is_first and i > 0:
            canvas.line([(0, y - ROW / 2), (right, y - ROW / 2)], "soft", 0.8)
        canvas.text(left - 10, y + 4, entry.label, FONT, "ink" if entry.is_ours else "soft", "end",
                    entry.is_ours)
        if entry.values:
            _box(canvas, scale, y, entry, color)
        else:
            canvas.text(left + 6, y + 4, "failed: " + entry.failed[:52], FONT, "vermillion")
    return canvas


def _box(canvas, scale, y, entry, color):
    values = entry.values
    low, q1, middle, q3, high = (scale.at(stats.quantile(values, part))
                                 for part in (0, 0.25, 0.5, 0.75, 1))
    canvas.line([(low, y), (high, y)], color, 1.2, "2 2" if entry.is_scaled else "")
    canvas.box(q1, y - 6, max(q3 - q1, 1), 12, "paper" if entry.is_scaled else "band", color, 1.2)
    for value in values:
        canvas.mark(scale.at(value), y, "dot", 1.6, color, "")
    canvas.line([(middle, y - 6), (middle, y + 6)], color, 2.6)
    said = number(stats.median(values)) + (f" {entry.after}" if entry.after else "")
    said += " (failed at times)" if entry.failed else ""
    room = draw.text_width(said, SMALL)
    if high + 8 + room > canvas.width and low - 8 - room > scale.begin:
        canvas.text(low - 7, y + 4, said, SMALL, "ink", "end", entry.is_ours)
    else:
        canvas.text(min(high + 7, canvas.width - room), y + 4, said, SMALL, "ink", "start",
                    entry.is_ours)


# ---- Intervals ----


@dataclass
class Interval:
    label: str
    estimate: stats.Estimate
    color: str = "soft"
    is_hollow: bool = False  # scaled
    target: float = 0
    after: str = ""


def intervals(title, entries, caption, is_log=True, width=860, left=390.0):
    """A median and its interval a line, around 1; a tick where the target is."""
    said = [entry.after or number(entry.estimate.median) for entry in entries]
    right = width - 16 - max(draw.text_width(text, FONT) for text in said)
    top = 34.0
    bottom = top + ROW * len(entries)
    canvas = draw.Canvas(width, bottom + 36, title)
    heading(canvas)
    ends = [value for entry in entries for value in (entry.estimate.low, entry.estimate.high)]
    targets = [entry.target for entry in entries if entry.target]
    scale = Scale(ends + targets, left, right, is_log, includes=(1,))
    x_axis(canvas, scale, top, bottom, caption)
    canvas.line([(scale.at(1), top - 4), (scale.at(1), bottom)], "ink", 1.2)
    for i, entry in enumerate(entries):
        y = top + ROW * (i + 0.5)
        canvas.text(left - 12, y + 4, entry.label, FONT, "ink", "end")
        if entry.target:
            x = scale.at(entry.target)
            canvas.line([(x, y - 8), (x, y + 8)], "ink", 2)
        canvas.line([(scale.at(entry.estimate.low), y), (scale.at(entry.estimate.high), y)],
                    entry.color, 2)
        canvas.mark(scale.at(entry.estimate.median), y, "dot", 4.4,
                    "paper" if entry.is_hollow else entry.color, entry.color)
        canvas.text(right + 12, y + 4, said[i], FONT, "ink")
    return canvas


# ---- Lines ----


def lines(title, ticks, series, unit, caption, is_log=False, width=520, height=330):
    """series: name -> {index of a tick: Estimate}. The name stands at the end of its line."""
    left, right, top, bottom = 56.0, width - 118.0, 40.0, height - 44.0
    canvas = draw.Canvas(width, height, title)
    heading(canvas)
    scale = Scale([value for points in series.values() for e in points.values()
                   for value in (e.low, e.median, e.high)], bottom, top, is_log)
    for value in scale.ticks():
        y = scale.at(value)
        canvas.line([(left, y), (right, y)], "faint")
        canvas.text(left - 8, y + 4, tick_number(value), SMALL, "soft", "end")
    canvas.text(0, 32, unit + (", logarithmic" if is_log else ""), SMALL, "soft")
    step = (right - left - 24) / max(len(ticks) - 1, 1)
    for i, tick in enumerate(ticks):
        canvas.text(left + 12 + step * i, bottom + 16, tick, SMALL, "soft", "middle")
    canvas.text(right, bottom + 33, caption, SMALL, "soft", "end")
    labels = []
    for name, points in sorted(series.items(), key=lambda pair: pair[0].startswith("bonxie")):
        color, marker, dash = series_of(name)
        path = [(left + 12 + step * i, scale.at(points[i].median)) for i in sorted(points)]
        for i in sorted(points):
            x = left + 12 + step * i
            canvas.line([(x, scale.at(points[i].low)), (x, scale.at(points[i].high))], color, 1)
        canvas.line(path, color, 2.4 if name.startswith("bonxie") else 1.4, dash)
        for x, y in path:
            canvas.mark(x, y, marker, 3.4, color, color)
        labels.append([path[-1][1], path[-1], name, color])
    _labels(canvas, labels, right, top, bottom)
    return canvas


def _labels(canvas, labels, x, top, bottom):
    """Names at the right, moved apart so that none covers another."""
    gap = 14.0
    labels.sort()
    for i, label in enumerate(labels):
        label[0] = max(label[0], labels[i - 1][0] + gap if i else top)
    if labels and labels[-1][0] > bottom + 12:
        labels[-1][0] = bottom + 12
        for i in range(len(labels) - 2, -1, -1):
            labels[i][0] = min(labels[i][0], labels[i + 1][0] - gap)
    for y, (from_x, from_y), name, color in labels:
        canvas.line([(from_x + 5, from_y), (x + 12, y)], color, 0.7)
        canvas.text(x + 15, y + 4, name, FONT, color, "start", name == "bonxie")


# ---- Bars ----


def bars(title, entries, unit, width=520):
    """entries: (label, value, is_ours, is_scaled); dots on a logarithmic scale if far apart."""
    left, right, top = 128.0, width - 76.0, 34.0
    bottom = top + ROW * len(entries)
    canvas = draw.Canvas(width, bottom + 36, title)
    heading(canvas)
    values = [value for _, value, *_ in entries]
    scale = Scale(values, left, right, is_wide(values))
    x_axis(canvas, scale, top, bottom, unit)
    for i, (label, value, is_ours, is_scaled) in enumerate(entries):
        y = top + ROW * (i + 0.5)
        color = "blue" if is_ours else "soft"
        canvas.text(left - 10, y + 4, label, FONT, "ink", "end", is_ours)
        if scale.is_log:  # a length from an arbitrary beginning would say nothing
            canvas.line([(left, y), (scale.at(value), y)], "faint", 1, "2 2")
            canvas.mark(scale.at(value), y, "dot", 4.6, "paper" if is_scaled else color, color)
        else:
            canvas.box(left, y - 6.5, scale.at(value) - left, 13, "paper" if is_scaled else color,
                       color)
        canvas.text(scale.at(value) + 7, y + 4, number(value), SMALL, "ink", "start", is_ours)
    return canvas
