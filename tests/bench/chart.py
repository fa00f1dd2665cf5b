"""The chart of a run: SVG by hand, with its own background and colours for bright and dark
screens."""

from html import escape
from math import ceil, log10

from report import NAMES, show

SERIES = ("bazaar", "bazaar_edge", "etcd", "postgres_update_insert", "postgres_insert")
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 } .small { font-size: 11px; fill: #59636e }
  .back { fill: #ffffff } .line { stroke: #d1d9e0 }
  .s0 { fill: #0969da } .s1 { fill: #bc4c00 } .s2 { fill: #8250df } .s3 { fill: #1a7f37 }
  .s4 { fill: #9a6700 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .back { fill: #0d1117 }
    .line { stroke: #3d444d }
    .s0 { fill: #58a6ff } .s1 { fill: #f0883e } .s2 { fill: #bc8cff } .s3 { fill: #3fb950 }
    .s4 { fill: #d29922 }
  }"""
WIDTH, HEIGHT, TOP, LEFT, RIGHT = 900, 250, 104, 60, 20


def chart(figures, caption):
    """The chart as text, `None` when the run has nothing to show in it."""
    systems = [system for system in SERIES if figures.of("orders", system)]
    panels = []
    if systems:
        of = lambda field: [
            (
                f"{n} connection{'s' * (n > 1)}",
                [figures.median("orders", s, field, connections=n) for s in systems],
            )
            for n in (1, 5, 64, 512)
        ]
        panels.append(("Durable writes per second (more is better)", of("rate"), 0, False))
        panels.append(
            (
                "Time of one write, median, in ms (less is better, logarithmic)",
                of("p50_ms"),
                2,
                True,
            )
        )
        panels.append(
            (
                "Time of one write, 99th percentile, in ms (less is better, logarithmic)",
                of("p99_ms"),
                2,
                True,
            )
        )
    faults = {
        "kill_idle": "leader killed",
        "kill_loaded": "killed under load",
        "pause_idle": "leader paused",
        "etcd": "etcd, leader killed",
    }
    place = {system: n for n, system in enumerate(systems or ("bazaar", "etcd"))}
    gaps = []
    for system, name in faults.items():
        gap = figures.median("failover", system, "gap_ms")
        if gap is not None:
            colour = place["etcd" if system == "etcd" else "bazaar"]
            gaps.append((name, [None] * colour + [gap]))
    if gaps:
        panels.append(
            (
                "Longest time without an answer, leader fails, median, in ms "
                "(less is better, logarithmic)",
                gaps,
                0,
                True,
            )
        )
        systems = systems or ["bazaar", "etcd"]
    if not panels:
        return None
    body = [
        f'<text x="{LEFT}" y="28" class="title">'
        "Stock bazaar: measured in turns on one machine</text>",
        f'<text x="{LEFT}" y="46" class="small">{escape(caption)}</text>',
    ]
    x, y = LEFT, 58
    for n, system in enumerate(systems):
        name = NAMES[system]
        wide = 30 + 6.2 * len(name)
        if x + wide > WIDTH - RIGHT:
            x, y = LEFT, y + 20
        body.append(f'<rect x="{x:.0f}" y="{y}" width="11" height="11" class="s{n}"/>')
        body.append(f'<text x="{x + 16:.0f}" y="{y + 10}" class="small">{escape(name)}</text>')
        x += wide
    for n, panel in enumerate(panels):
        body += draw(panel, TOP + n * HEIGHT)
    height = TOP + len(panels) * HEIGHT + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">\n'
        f"<title>Stock bazaar: durable writes and failover</title>\n<style>{STYLE}\n</style>\n"
        f'<rect width="{WIDTH}" height="{height}" class="back"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def draw(panel, top):
    """One panel of grouped bars."""
    title, groups, digits, logarithmic = panel
    low, high = top + HEIGHT - 34, top + 52
    values = [value for _, bars in groups for value in bars if value]
    most = max(values)
    floor = 10 ** (ceil(log10(min(values))) - 1) if logarithmic else 0
    share = lambda v: log10(v / floor) / max(log10(most / floor), 1e-9) if logarithmic else v / most
    out = [
        f'<text x="{LEFT}" y="{top + 24}" class="title">{escape(title)}</text>',
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{low}" y2="{low}" class="line"/>',
    ]
    wide = (WIDTH - LEFT - RIGHT) / len(groups)
    for g, (label, bars) in enumerate(groups):
        shown = [(n, value) for n, value in enumerate(bars) if value]
        bar = min((wide - 24) / max(len(shown), 1), 52)
        left = LEFT + g * wide + (wide - bar * len(shown)) / 2
        text_top, text_wide = 0.0, 0.0
        for place, (n, value) in enumerate(shown):
            tall = max(share(value) * (low - high), 1)
            x = left + place * bar
            # A value that would run into the one before it stands above it.
            text, before, before_wide = low - tall - 4, text_top, text_wide
            text_wide = 6.2 * len(show(value, digits))
            if (text_wide + before_wide) / 2 > bar and abs(text - before) < 11:
                text = before - 11
            text_top = text
            out.append(
                f'<rect x="{x + 2:.1f}" y="{low - tall:.1f}" width="{bar - 4:.1f}" '
                f'height="{tall:.1f}" class="s{n}"/>'
            )
            out.append(
                f'<text x="{x + bar / 2:.1f}" y="{text:.1f}" text-anchor="middle" '
                f'class="small">{show(value, digits)}</text>'
            )
        out.append(
            f'<text x="{LEFT + (g + 0.5) * wide:.1f}" y="{low + 18}" text-anchor="middle">'
            f"{escape(label)}</text>"
        )
    return out
