# SPDX-License-Identifier: MIT
"""A small canvas: lines, boxes, dots and text, written as SVG by itself and as PNG by matplotlib.

The SVG stands inside a page and takes its colours from the page's style, so that it is right on
light, on dark and on paper. The PNG has the light ones. Colours are roles; those of series can be
told apart by the colour-blind (they are Okabe and Ito's, darkened where paper needs it), and never
alone: a series has a marker, a dash and a name beside it as well.
"""

import html

FONT = "system-ui, sans-serif"
# Role -> (on light, on dark).
COLORS = {
    "ink": ("#1b1f24", "#e8e6e1"),
    "soft": ("#59636e", "#a9adb3"),
    "faint": ("#d5d9de", "#3d434a"),
    "paper": ("#ffffff", "#16191d"),
    "band": ("#f3f5f7", "#1f2429"),
    "blue": ("#0072b2", "#56b4e9"),
    "vermillion": ("#c64f00", "#ff8a4c"),
    "green": ("#00815d", "#3cc9a0"),
    "orange": ("#9a6700", "#e9ad2f"),
    "purple": ("#a8457f", "#e09cc4"),
    "violet": ("#5c54a4", "#aaa3ee"),
    "brown": ("#7a5230", "#c79a70"),
}
MARKERS = ("dot", "square", "diamond", "up", "down")
# Of a sans-serif letter, in parts of the font's size: enough to leave room for text.
LETTER = 0.56


class Canvas:
    """Shapes in pixels, from the top left."""

    def __init__(self, width, height, title):
        self.width = width
        self.height = height
        self.title = title
        self.items = []

    def line(self, points, color="ink", width=1.0, dash=""):
        self.items.append(("line", list(points), color, width, dash))

    def box(self, x, y, width, height, fill="", edge="", line=1.0):
        self.items.append(("box", (x, y, width, height), fill, edge, line))

    def mark(self, x, y, shape="dot", radius=4.0, fill="ink", edge="ink"):
        """A marker; fill "paper" makes it hollow."""
        self.items.append(("mark", (x, y, shape, radius), fill, edge, 1.4))

    def text(self, x, y, said, size=12.0, color="ink", anchor="start", is_bold=False):
        """y is the base line; anchor is start, middle or end."""
        self.items.append(("text", (x, y), str(said), size, color, anchor, is_bold))


def text_width(said, size=12.0):
    return len(str(said)) * size * LETTER


def outline(x, y, shape, radius):
    """The corners of a marker that is no circle."""
    r = radius * 1.1
    return {
        "square": [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)],
        "diamond": [(x, y - 1.3 * r), (x + 1.3 * r, y), (x, y + 1.3 * r), (x - 1.3 * r, y)],
        "up": [(x - 1.15 * r, y + r), (x, y - 1.15 * r), (x + 1.15 * r, y + r)],
        "down": [(x - 1.15 * r, y - r), (x, y + 1.15 * r), (x + 1.15 * r, y - r)],
    }[shape]


# ---- SVG ----


def _number(value):
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _paint(fill, edge, width=0.0, dash=""):
    classes = [f"f-{fill}" if fill else "f-none"] + ([f"e-{edge}"] if edge else [])
    more = f' stroke-width="{_number(width)}"' if edge else ""
    return f'class="{" ".join(classes)}"{more}' + (f' stroke-dasharray="{dash}"' if dash else "")


def _svg_item(item):
    kind = item[0]
    if kind == "line":
        _, points, color, width, dash = item
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        return f'<polyline points="{path}" {_paint("", color, width, dash)}/>'
    if kind == "box":
        _, (x, y, width, height), fill, edge, line = item
        return (f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(max(width, 0))}" '
                f'height="{_number(height)}" {_paint(fill, edge, line)}/>')
    if kind == "mark":
        _, (x, y, shape, radius), fill, edge, line = item
        if shape == "dot":
            return (f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}" '
                    f'{_paint(fill, edge, line)}/>')
        path = " ".join(f"{_number(a)},{_number(b)}" for a, b in outline(x, y, shape, radius))
        return f'<polygon points="{path}" {_paint(fill, edge, line)}/>'
    _, (x, y), said, size, color, anchor, is_bold = item
    weight = ' font-weight="600"' if is_bold else ""
    return (f'<text x="{_number(x)}" y="{_number(y)}" font-size="{_number(size)}" '
            f'text-anchor="{anchor}" class="f-{color}"{weight}>{html.escape(said)}</text>')


def svg(canvas):
    """An element for the inside of a page that has style()."""
    inside = "\n".join(_svg_item(item) for item in canvas.items)
    return (f'<svg viewBox="0 0 {_number(canvas.width)} {_number(canvas.height)}" role="img" '
            f'style="max-width:{_number(canvas.width)}px">'
            f"<title>{html.escape(canvas.title)}</title>\n"
            f"{inside}\n</svg>")


def style():
    """The colours as CSS: light, dark where the reader wants it, light on paper."""
    def of(index):
        return "".join(f"--{role}:{pair[index]};" for role, pair in COLORS.items())
    rules = [f":root{{color-scheme:light dark;{of(0)}}}",
             f"@media screen and (prefers-color-scheme:dark){{:root{{{of(1)}}}}}",
             ".f-none{fill:none}"]
    rules += [f".f-{role}{{fill:var(--{role})}}.e-{role}{{stroke:var(--{role})}}"
              for role in COLORS]
    return "\n".join(rules) + f"\nsvg text{{font-family:{FONT}}}"


# ---- PNG ----


def has_png():
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def png(canvas, path):
    """Writes the same as a picture, with matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(canvas.width / 96, canvas.height / 96), facecolor=COLORS["paper"][0])
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, canvas.width)
    axes.set_ylim(canvas.height, 0)
    axes.axis("off")
    for order, item in enumerate(canvas.items):
        _png_item(axes, item, order)
    figure.savefig(path, dpi=192)


def _rgb(role):
    return COLORS[role][0] if role else "none"


def _png_item(axes, item, order):
    from matplotlib import patches

    points_per_pixel = 0.75
    kind = item[0]
    if kind == "line":
        _, points, color, width, dash = item
        pattern = (0, [float(part) / width for part in dash.split()]) if dash else "-"
        axes.plot([x for x, _ in points], [y for _, y in points], color=_rgb(color), zorder=order,
                  linewidth=width * points_per_pixel, linestyle=pattern, solid_capstyle="butt")
    elif kind == "text":
        _, (x, y), said, size, color, anchor, is_bold = item
        axes.text(x, y, said, fontsize=size * points_per_pixel, color=_rgb(color), zorder=order,
                  ha={"start": "left", "middle": "center", "end": "right"}[anchor], va="baseline",
                  weight="semibold" if is_bold else "normal", parse_math=False)
    else:
        _, place, fill, edge, line = item
        paint = {"facecolor": _rgb(fill), "edgecolor": _rgb(edge), "zorder": order,
                 "linewidth": line * points_per_pixel if edge else 0}
        if kind == "box":
            x, y, width, height = place
            patch = patches.Rectangle((x, y), max(width, 0), height, **paint)
        elif place[2] == "dot":
            patch = patches.Circle(place[:2], place[3], **paint)
        else:
            patch = patches.Polygon(outline(*place), closed=True, **paint)
        axes.add_patch(patch)
