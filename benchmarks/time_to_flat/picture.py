"""Draws the README's first picture: orders that are still open, over the time since the call.

From what `benchmarks.flat` saved; it needs nothing. Run:
`python -m benchmarks.time_to_flat.picture`.
"""

import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.figures import saved

PICTURE = Path(__file__).parent.parent / "pictures" / "flat.svg"

_WIDTH, _HEIGHT = 810, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 24, 124, 56
_LEGEND, _LEGEND_LINE = 54, 20
_MARGIN = 0.4
_NUMBERS = 12
_KINDS = ("ours", "hand", "other")

_STYLE = """
text { font: 13px "DejaVu Sans", Verdana, Arial, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: bold } .number { text-anchor: end }
.below { text-anchor: middle } .bold { font-weight: bold }
.ground { fill: #fcfcfb } .grid { stroke: #d0d4d9; stroke-width: 0.6 }
path { fill: none; stroke-width: 1.8; stroke-linejoin: round }
path.ours { stroke-width: 3 }
.ours { stroke: #0b7285 } .hand { stroke: #b08968 } .other { stroke: #7a6fa0 }
circle.ours { fill: #0b7285 } circle.hand { fill: #b08968 } circle.other { fill: #7a6fa0 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .ground { fill: #0d1117 } .grid { stroke: #30363d }
  .ours { stroke: #3bc9db } .hand { stroke: #d9b38c } .other { stroke: #b4a7e0 }
  circle.ours { fill: #3bc9db } circle.hand { fill: #d9b38c } circle.other { fill: #b4a7e0 }
}
"""

Curve = Sequence[Sequence[float]]
"""Seconds, and what is open from then on; the last is the report."""


class _Scale:
    """Where a moment and a number of orders are in the picture."""

    def __init__(self, curves: Mapping[str, Curve]) -> None:
        self.seconds = max(curve[-1][0] for curve in curves.values()) + _MARGIN
        self.orders = max(curve[0][1] for curve in curves.values())

    def x(self, seconds: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * seconds / self.seconds

    def y(self, orders: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * orders / self.orders


def told(curves: Mapping[str, Curve]) -> dict[str, str]:
    """Of each, in words, when nothing was left and when it was told."""
    words = {}
    for label, curve in curves.items():
        *changes, (report, left) = curve
        gone = changes[-1][0]
        open_until = f"{left:g} left open" if left else f"none open after {gone:.1f} s"
        words[label] = f"{label}: {open_until}, told after {report:.1f} s"
    return words


def drawn(result: Mapping[str, Any]) -> str:
    """The picture of what was saved."""
    curves: dict[str, Curve] = {each["label"]: each["points"] for each in result["curves"]}
    scale, words = _Scale(curves), told(curves)
    title = f"{result['rows'][0][0]}: orders still open"
    about = escape(f"{title}. {'; '.join(words.values())}.", quote=True)
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{about}">',
        f"<title>{about}</title><style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{_HEIGHT}"/>',
        _text("title", 14, 28, title),
        *_grid(scale),
        # Ours above the others.
        *(
            _line(*each, scale)
            for each in reversed(list(zip(_KINDS, curves.values(), strict=True)))
        ),
    ]
    for number, (kind, label) in enumerate(zip(_KINDS, words.values(), strict=True)):
        parts += _legend(number, kind, label)
    return "\n".join((*parts, "</svg>\n"))


def _text(kind: str, x: float, y: float, words: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def _grid(scale: _Scale) -> list[str]:
    parts = []
    for orders in range(0, int(scale.orders) + 1, max(1, int(scale.orders) // 4)):
        y = scale.y(orders)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text("number", _LEFT - 8, y + 4.5, str(orders)))
    step = 1 if scale.seconds < _NUMBERS else 2
    for seconds in range(0, int(scale.seconds) + 1, step):
        parts.append(_text("below", scale.x(seconds), _HEIGHT - _BOTTOM + 20, str(seconds)))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text("below", middle, _HEIGHT - 12, "seconds since the call; a dot: its report"))
    return parts


def _line(kind: str, curve: Curve, scale: _Scale) -> str:
    first, *changes = curve
    steps = "".join(f"H{scale.x(at):.1f}V{scale.y(left):.1f}" for at, left in changes)
    at, left = changes[-1]
    dot = f'<circle class="{kind}" cx="{scale.x(at):.1f}" cy="{scale.y(left):.1f}" r="4"/>'
    start = f"M{scale.x(first[0]):.1f} {scale.y(first[1]):.1f}"
    return f'<path class="{kind}" d="{start}{steps}"/>{dot}'


def _legend(number: int, kind: str, label: str) -> list[str]:
    """Above the lines, which leave no place beside them."""
    x, y = 14, _LEGEND + number * _LEGEND_LINE
    mark = f'<path class="{kind}" d="M{x} {y - 4.5}h24"/>'
    return [mark, _text("bold" if kind == "ours" else "", x + 32, y, label)]


def main() -> int:
    """Draw it, if there is something to draw."""
    if (result := saved().get("flat")) is not None:
        PICTURE.write_text(drawn(result), encoding="utf-8")
        print(f"{PICTURE.name} is drawn.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
