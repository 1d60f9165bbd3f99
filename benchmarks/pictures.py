"""Draws the pictures of the pages from what the benchmarks saved.

A result that has a picture says what is in it, as data; the same data gives the same file, byte for
byte. Pictures have a light ground of their own, so that they read on dark pages, too. matplotlib is
in the environment of the others: `.venv-bench/bin/python -m benchmarks.pictures`.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]  # another venv
from matplotlib.figure import Figure  # type: ignore[import-not-found]  # another venv
from matplotlib.patches import Rectangle  # type: ignore[import-not-found]  # another venv

from benchmarks.figures import saved

PICTURES = Path(__file__).parent / "pictures"

_GROUND = "#fcfcfb"
_INK = "#24292f"
_FAINT = "#d0d4d9"
_OURS = "#0b7285"
_KEPT = "#d3ebe6"
_PALE_RED, _DARK_RED = (1.0, 0.94, 0.9), (0.7, 0.13, 0.1)
_DARK = 0.55
_OTHERS = ("#8a939c", "#b08968", "#7a6fa0", "#5c8a5c", "#a05c6b", "#6b7f8f")

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "htx_async",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.facecolor": _GROUND,
    "figure.facecolor": _GROUND,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}

Picture = Mapping[str, Any]


def bars(picture: Picture) -> Figure:
    """Horizontal bars with their quartiles, a panel below the other, on one scale."""
    panels = picture["panels"]
    sizes = [len(panel["bars"]) for panel in panels]
    figure = Figure(figsize=(9, 1.2 + sum(0.36 * size + 0.55 for size in sizes)))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=sizes)[:, 0]
    longest = max(_high(bar) for panel in panels for bar in panel["bars"])
    for panel, axis in zip(panels, axes, strict=True):
        _prepare(axis, panel)
        for place, bar in enumerate(panel["bars"]):
            _bar(axis, place, bar, longest)
        axis.set_yticks(range(len(panel["bars"])), [bar["label"] for bar in panel["bars"]])
        axis.set_ylim(len(panel["bars"]) - 0.4, -0.6)
        axis.set_xlim(0, longest * 1.12)
        axis.grid(visible=True, axis="x", color=_FAINT, linewidth=0.6)
        if mark := picture.get("mark"):
            axis.axvline(mark["at"], color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
    return _titled(figure, axes[-1], picture)


def lines(picture: Picture) -> Figure:
    """Lines over a quantity, their quartiles as a band, a panel beside the other."""
    panels = picture["panels"]
    figure = Figure(figsize=(9, 4))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for panel, axis in zip(panels, axes, strict=True):
        _prepare(axis, panel)
        colours = iter(_OTHERS * len(panel["lines"]))
        for line in panel["lines"]:
            _line(axis, line, _OURS if line.get("ours") else next(colours))
        axis.grid(visible=True, color=_FAINT, linewidth=0.6)
        if picture.get("log"):
            axis.set_xscale("log")
            sizes = panel["lines"][0]["x"]
            axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axis.minorticks_off()
        if mark := picture.get("mark"):
            axis.axhline(mark["at"], color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axis.set_xlabel(picture["across"])
    # Only now: the scale is that of all panels.
    axes[0].set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=10)
    axes[0].set_ylabel(picture["unit"])
    return _titled(figure, None, picture)


def grid(picture: Picture) -> Figure:
    """Whole numbers by row and column; the further above `most`, the darker."""
    rows, columns, most = picture["rows"], picture["columns"], picture["most"]
    figure = Figure(figsize=(9, 1.1 + 0.4 * len(rows)))
    axis = figure.subplots()
    worst = max(value for values in picture["values"] for value in values if value is not None)
    for y, values in enumerate(picture["values"]):
        for x, value in enumerate(values):
            if value is not None:
                above = max(0.0, (value - most) / max(1, worst - most))
                colour = _KEPT if value <= most else _shade(0.25 + 0.75 * above)
                axis.add_patch(Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, color=colour, lw=0))
                ink = _GROUND if above > _DARK else _INK
                axis.text(x, y, f"{value:g}", ha="center", va="center", color=ink)
    axis.set_xlim(-0.5, len(columns) - 0.5)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), [row["label"] for row in rows])
    for row, label in zip(rows, axis.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if row.get("ours") else "normal")
    axis.xaxis.tick_top()
    axis.spines[:].set_visible(False)
    return _titled(figure, None, picture)


def _shade(depth: float) -> tuple[float, float, float]:
    """Between a pale and a dark red."""
    red, green, blue = (
        pale + (dark - pale) * depth for pale, dark in zip(_PALE_RED, _DARK_RED, strict=True)
    )
    return red, green, blue


KINDS: dict[str, Callable[[Picture], Figure]] = {"bars": bars, "lines": lines, "grid": grid}


def _prepare(axis: Any, panel: Picture) -> None:
    if panel["title"]:
        axis.set_title(panel["title"], loc="left", fontsize=11)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_axisbelow(True)


def _high(bar: Picture) -> float:
    return float(max(bar["value"], bar.get("high", 0.0)))


def _bar(axis: Any, place: int, bar: Picture, longest: float) -> None:
    value, low, high = bar["value"], bar.get("low"), bar.get("high")
    axis.barh(place, value, height=0.62, color=_OURS if bar.get("ours") else _OTHERS[0])
    if low is not None and high is not None:
        spread = [[value - low], [high - value]]
        axis.errorbar(value, place, xerr=spread, color=_INK, linewidth=1, capsize=2.5)
    weight = "bold" if bar.get("ours") else "normal"
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    axis.text(_high(bar) + longest * 0.012, place, text, va="center", fontweight=weight)


def _line(axis: Any, line: Picture, colour: str) -> None:
    width = 2.2 if line.get("ours") else 1.4
    axis.plot(
        line["x"], line["y"], color=colour, label=line["label"], linewidth=width, marker="o", ms=3.5
    )
    if "low" in line and "high" in line:
        axis.fill_between(line["x"], line["low"], line["high"], color=colour, alpha=0.18, lw=0)


def _titled(figure: Figure, below: Any, picture: Picture) -> Figure:
    """With its title, what the scale counts if an axis is to say it, and no more margin."""
    figure.suptitle(picture["title"], x=0.01, ha="left", fontsize=13, fontweight="bold")
    if below is not None:
        below.set_xlabel(picture["unit"])
    figure.tight_layout()
    return figure


def draw(name: str, picture: Picture) -> Path:
    """Write one picture; where it is."""
    PICTURES.mkdir(exist_ok=True)
    file = PICTURES / f"{name}.svg"
    with mpl.rc_context(_STYLE):
        figure = KINDS[picture["kind"]](picture)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file


def main() -> int:
    """Draw all pictures that the results ask for."""
    for name, result in saved().items():
        if "picture" in result:
            print(f"{draw(name, result['picture']).name} is drawn.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
