"""Horizontal bar charts as SVG, small enough to be read in a diff."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH = 720
_LABEL = 250
_VALUE = 90
_ROW = 30
_TOP = 48
_COLOURS = {"ours": "#1f6f8b", "other": "#b8b8b8", "bound": "#d98c3f"}


class Bar(NamedTuple):
    """One bar.

    Attributes:
        kind: `ours`, `other` or `bound`; sets the colour.
    """

    label: str
    value: float
    kind: str = "other"


def bars(title: str, unit: str, values: Sequence[Bar]) -> str:
    """The chart as an SVG document; all bars share one scale from zero."""
    longest = max((bar.value for bar in values), default=0.0) or 1.0
    room = WIDTH - _LABEL - _VALUE
    height = _TOP + _ROW * len(values) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="{WIDTH - 12}" y="24" text-anchor="end" fill="#666666">{escape(unit)}</text>',
    ]
    for index, bar in enumerate(values):
        top = _TOP + _ROW * index
        length = max(1, round(room * bar.value / longest))
        text_y = top + 15
        parts += [
            f'<text x="{_LABEL - 8}" y="{text_y}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{_LABEL}" y="{top}" width="{length}" height="20" rx="2" fill="{_COLOURS[bar.kind]}"/>',
            f'<text x="{_LABEL + length + 6}" y="{text_y}" fill="#333333">{_shown(bar.value)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
