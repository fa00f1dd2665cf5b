"""A chart with lines: SVG by hand, with colours for bright and dark screens."""

from html import escape
from math import log10

from chart import STYLE
from report import show

HEIGHT, WIDE, LEFT, TOP, BOTTOM = 260, 300, 64, 52, 48


def chart(label, panels):
    """Panels beside each other. Each is a title and points `(size, value)`; sizes grow by factors,
    and `label` names them. Values begin at zero."""
    width = len(panels) * (WIDE + LEFT) + 20
    body = []
    for n, (title, points) in enumerate(panels):
        body += panel(title, label, points, n * (WIDE + LEFT) + LEFT)
    name = escape(" and ".join(title for title, _ in panels) + f" by {label}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
        f'width="{width}" height="{HEIGHT}" role="img">\n'
        f"<title>{name}</title>\n<style>{STYLE}\n"
        "  polyline { fill: none; stroke: #0969da; stroke-width: 2 }\n</style>\n"
        f'<rect width="{width}" height="{HEIGHT}" class="back"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def panel(title, label, points, left):
    """One panel: axis, line, marks, and each value beside its mark."""
    low, wide = HEIGHT - BOTTOM, WIDE - 40
    most = max(value for _, value in points) * 1.15 or 1
    # A size of zero stands where one tenth of the next one would.
    sizes = [size for size, _ in points if size > 0]
    place = lambda size: log10(size if size > 0 else min(sizes) / 10)
    first, last = (place(points[n][0]) for n in (0, -1))
    x = lambda size: left + (place(size) - first) / max(last - first, 1e-9) * wide
    y = lambda value: low - value / most * (low - TOP)
    out = [
        f'<text x="{left - 8}" y="28" class="title">{escape(title)}</text>',
        f'<line x1="{left - 8}" x2="{left + wide + 12}" y1="{low}" y2="{low}" class="line"/>',
        f'<text x="{left + wide / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle" class="small">'
        f"{escape(label)}</text>",
    ]
    line = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in points)
    out.append(f'<polyline points="{line}"/>')
    values = [value for _, value in points]
    for n, (size, value) in enumerate(points):
        digits = 0 if most >= 100 else 1 if most >= 20 else 2
        before = values[n - 1] if n else None
        after = values[n + 1] if n + 1 < len(values) else None
        right, below, anchor = beside(before, value, after)
        out += [
            f'<circle cx="{x(size):.1f}" cy="{y(value):.1f}" r="3.5" class="s0"/>',
            f'<text x="{x(size) + right:.1f}" y="{y(value) + below:.1f}" text-anchor="{anchor}" '
            f'class="small">{show(value, digits)}</text>',
            f'<text x="{x(size):.1f}" y="{low + 16}" text-anchor="middle" class="small">'
            f"{short(size)}</text>",
        ]
    return out


def beside(before, value, after):
    """Where a value stands beside its mark, so that the line does not cross it: pixels to the right
    and downwards, and the text's anchor. A missing neighbour is `None`."""
    if before is None or after is None:
        falls = before is not None and value < 0.8 * before
        return (0, 18, "middle") if falls else (0, -9, "middle")
    if before > value < after:
        return 0, 18, "middle"
    if before < value < after:
        return -6, -7, "end"
    if before > value > after:
        return 6, -7, "start"
    return 0, -9, "middle"


def short(size):
    """A size on the axis: 10k, 1M."""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if size >= unit and size % unit == 0:
            return f"{size / unit:.0f}{name}"
    return f"{size:.0f}"
