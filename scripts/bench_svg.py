"""The picture of what scripts/bench measured: bars on scales of tens, readable on a light page and on a dark one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from bench_figures import Figure, Results, shown, shown_ratio

WIDTH = 860
NAME_WIDTH, VALUE_WIDTH, MARGIN = 250, 190, 20
BAR, STEP, HEAD, GAP = 15, 22, 46, 18
"""Heights in pixels: a bar, from one bar to the next, a panel's heading, and between two panels."""

STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d8dee4 }
  .ours { fill: #1a7f37 } .theirs { fill: #9aa4b0 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d } .text { fill: #f0f6fc } .faint { fill: #9198a1 } .grid { stroke: #2a3038 }
    .ours { fill: #3fb950 } .theirs { fill: #59636e }
  }
  text { font: 13px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif }
  .head { font-weight: 600; font-size: 14px }
"""


@dataclass(frozen=True)
class Bar:
    """One bar: whose it is, how long, and what is written behind it."""

    name: str
    value: float
    text: str
    is_ours: bool = False


@dataclass(frozen=True)
class Panel:
    """Bars that share a scale; the heading says what they show, and whether long or short is good."""

    heading: str
    bars: Sequence[Bar] = field(default_factory=list)

    @property
    def height(self) -> int:
        """How many pixels high it is."""
        return HEAD + STEP * len(self.bars)


def scale(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten between which all values lie, at least one decade, none of them at its very start."""
    low = math.floor(math.log10(min(values) / 1.5))
    return low, max(math.ceil(math.log10(max(values))), low + 1)


def panels(results: Results) -> list[Panel]:
    """Return what the picture shows: each thing that was measured beside others, and what each picture costs."""
    whats = dict.fromkeys(figure.what for figure in results.of("peers"))
    made = [Panel(f"{what}: more is better", bars) for what in whats if (bars := _beside_peers(results, what))]
    pictures = [figure for figure in results.of("pictures") if figure.theirs]
    for beside in dict.fromkeys(figure.beside for figure in pictures):
        bars = []
        for figure in pictures:
            if figure.beside == beside:
                text = f"{shown(figure.our_median, figure.unit)}: {shown_ratio(figure.ratio)} x faster"
                bars.append(Bar(f"zgrid, {figure.what}", figure.our_median, text, is_ours=True))
                bars.append(Bar(beside, figure.their_median, shown(figure.their_median, figure.unit)))
        made.append(Panel("one picture on one core, time: less is better", bars))
    return made


def _beside_peers(results: Results, what: str) -> list[Bar]:
    """Return zgrid's bar, those of the same measurement beside a bare pipeline, and the peers', longest first."""
    peers = [figure for figure in results.of("peers") if figure.what == what and figure.ours]
    if not peers:
        return []
    ours = max(peers, key=lambda figure: len(figure.ours))
    bars = [Bar("zgrid", ours.our_median, shown(ours.our_median, ours.unit), is_ours=True)]
    bars += [_bare(figure) for figure in results.of("grid") if figure.name == ours.name and figure.theirs][:1]
    others = sorted(peers, key=lambda figure: -figure.their_median)
    for figure in others:
        text = f"{shown(figure.their_median, figure.unit)}: zgrid {shown_ratio(figure.ratio)} x"
        bars.append(Bar(figure.beside, figure.their_median, text))
    return bars


def _bare(figure: Figure) -> Bar:
    return Bar(f"{figure.beside} (nothing kept)", figure.their_median, shown(figure.their_median, figure.unit))


def svg(results: Results) -> str:
    """Return the picture. Raises ValueError where there is nothing to show."""
    shown_panels = panels(results)
    if not shown_panels:
        raise ValueError("there is nothing to draw: measure peers or pictures (--peers, --faces)")
    height = 2 * MARGIN + sum(panel.height for panel in shown_panels) + GAP * (len(shown_panels) - 1)
    told = escape("; ".join(panel.heading for panel in shown_panels))
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{told}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
    ]
    top = MARGIN
    for panel in shown_panels:
        parts += _drawn(panel, top)
        top += panel.height + GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def _drawn(panel: Panel, top: int) -> list[str]:
    """Return a panel's elements."""
    left, right = MARGIN + NAME_WIDTH, WIDTH - MARGIN - VALUE_WIDTH
    low, high = scale([bar.value for bar in panel.bars])
    per_decade = (right - left) / (high - low)
    bottom = top + panel.height
    parts = [f'<text class="text head" x="{MARGIN}" y="{top + 12}">{escape(panel.heading)}</text>']
    for power in range(low, high + 1):
        x = left + (power - low) * per_decade
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{top + HEAD - 8}" x2="{x:.1f}" y2="{bottom}"/>')
        told = f"{10**power:,}" if power >= 0 else f"{10**power:g}"
        parts.append(f'<text class="faint" x="{x:.1f}" y="{top + HEAD - 12}" text-anchor="middle">{told}</text>')
    for number, bar in enumerate(panel.bars):
        y = top + HEAD + number * STEP
        length = (math.log10(bar.value) - low) * per_decade
        kind = "ours" if bar.is_ours else "theirs"
        weight = ' font-weight="600"' if bar.is_ours else ""
        parts += [
            f'<text class="text" x="{left - 8}" y="{y + 12}" text-anchor="end"{weight}>{escape(bar.name)}</text>',
            f'<rect class="{kind}" x="{left}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>',
            f'<text class="text" x="{left + length + 6:.1f}" y="{y + 12}"{weight}>{escape(bar.text)}</text>',
        ]
    return parts
