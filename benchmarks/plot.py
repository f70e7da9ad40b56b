"""The plot: a bar for each row on a logarithmic scale, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from .measuring import Group, Less, Ratio, Results, Row
from .report import NOT_REACHED, verdict

__all__ = ["svg"]

WIDTH, TEXT, MARGIN = 1100, 640, 30
LINE, TOP, BOTTOM = 20, 46, 30
FONT = 'font-family="sans-serif" font-size="11"'
LEGEND = "bar: median; thin line: middle half of the rounds; upright line: floor; diamond: goal"
BLACK = 'stroke="#000000"'
COLOURS = {"goal": "#2a7f4f", "floor": "#7aa65a", NOT_REACHED: "#c0504d", "": "#6b7f99"}


def svg(groups: Sequence[Group], results: Mapping[str, Results]) -> str:
    """Draw all rows that have a peer; whatever is better is further right, and 1 is as good as the peer."""
    bars = [
        (f"{row.figure}: {row.ours.name} / {row.peer.name}", row, ratio, group.title)
        for group in groups
        for row in group.rows
        if row.peer is not None
        and (ratio := results[group.name].ratio(row.figure, row.ours, row.peer)) is not None
    ]
    height = TOP + LINE * len(bars) + BOTTOM
    values = [_better(row, end) for _, row, ratio, _ in bars for end in (ratio.low, ratio.high)]
    scale = _Scale(min([0.5, *values]), max([2.0, *values]))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="10" y="18" font-size="13" font-weight="bold">How many times as good as the peer</text>',
        f'<text x="10" y="34" fill="#555555">{LEGEND}</text>',
        *_grid(scale, height),
    ]
    for number, (label, row, ratio, title) in enumerate(bars):
        lines += _bar(TOP + LINE * number, f"{title} - {label}", row, ratio, scale)
    return "\n".join([*lines, "</svg>"]) + "\n"


class _Scale:
    """Where a ratio is on the page."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = math.log10(low), math.log10(high)

    def __call__(self, ratio: float) -> float:
        share = (math.log10(ratio) - self.low) / (self.high - self.low)
        return TEXT + min(max(share, 0), 1) * (WIDTH - TEXT - MARGIN)


def _better(row: Row, ratio: float) -> float:
    return 1 / ratio if isinstance(row, Less) else ratio


def _grid(scale: _Scale, height: int) -> Iterator[str]:
    for power in range(math.floor(scale.low), math.ceil(scale.high) + 1):
        for step in (1, 2, 5):
            value = step * 10.0**power
            crowded = step > 1 and not 0.1 < value < 10
            if not crowded and scale.low <= math.log10(value) <= scale.high:
                x, strong = scale(value), value == 1
                yield (
                    f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{height - BOTTOM}" '
                    f'stroke="{"#333333" if strong else "#dddddd"}"/>'
                    f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle">{value:g}</text>'
                )


def _bar(y: float, label: str, row: Row, ratio: Ratio, scale: _Scale) -> Iterator[str]:
    one, end = scale(1), scale(_better(row, ratio.value))
    low, high = sorted((scale(_better(row, ratio.low)), scale(_better(row, ratio.high))))
    middle = y + LINE / 2
    yield f'<text x="{TEXT - 8}" y="{middle + 4}" text-anchor="end">{escape(_short(label))}</text>'
    yield (
        f'<rect x="{min(one, end):.1f}" y="{y + 3}" width="{abs(end - one):.1f}" height="{LINE - 6}" '
        f'fill="{COLOURS[verdict(row, ratio)]}"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="#000000"/>'
    )
    if row.floor is not None:
        x = scale(_better(row, row.floor))
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + 1}" y2="{y + LINE - 1}" {BLACK} stroke-width="2"/>'
    if row.goal is not None:
        x = scale(_better(row, row.goal))
        yield f'<path d="M{x:.1f} {middle - 5} l5 5 l-5 5 l-5 -5 z" fill="none" stroke="#000000"/>'


def _short(label: str) -> str:
    return label if len(label) <= 105 else label[:104] + "\N{HORIZONTAL ELLIPSIS}"
