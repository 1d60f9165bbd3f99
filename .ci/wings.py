"""Draws the wings of the package, and who imports whom, from the imports as they stand.

The order of the wings is that of the first contract in pyproject.toml. Run: `make figures`; a test
says when the picture is out of date.
"""

import ast
import tomllib
from collections import Counter
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "htx_async"
PICTURE = ROOT / "docs" / "pictures" / "wings.svg"

DOORS = "doors"
VALUES = "values"

_TEXTS = {
    DOORS: "What users import and operators run: they know every wing.",
    VALUES: "What is handed on: enums, codes, filters, orders, reports, errors, events. Pure.",
}

_WIDTH, _HEAD, _BOX, _LINE, _GAP, _CELL = 1010, 50, 560, 18, 14, 44
_CHARACTERS = 78

_STYLE = """
text { font: 13px sans-serif; fill: #1f2328 }
.name { font-weight: bold; font-size: 15px } .number { text-anchor: middle }
.small { font-size: 11px; fill: #59636e }
.box { fill: #f6f8fa; stroke: #8c959f } .cell { fill: #ddf4ff; stroke: #8c959f }
.none { fill: none; stroke: #d1d9e0 } .self { fill: #d1d9e0; stroke: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 }
  .box { fill: #161b22; stroke: #6e7681 } .cell { fill: #0c2d6b; stroke: #6e7681 }
  .none { stroke: #30363d } .self { fill: #30363d; stroke: #6e7681 }
}
"""


class Wing(NamedTuple):
    """A part of the house: its name, what it is for, and the modules in it."""

    name: str
    text: str
    modules: tuple[str, ...]


@cache
def layers_of(contract: int) -> list[str]:
    """Those of one of the contracts in pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers: list[str] = settings["tool"]["importlinter"]["contracts"][contract]["layers"]
    return layers


@cache
def folders() -> list[str]:
    """The wings between doors and values, from the top down."""
    layers = layers_of(0)
    names = [name.strip() for layer in layers for name in layer.replace(":", "|").split("|")]
    machine = names[names.index("cancel") : names.index("aio") + 1]
    return [name for name in machine if (PACKAGE / name).is_dir()]


@cache
def values() -> set[str]:
    """The names of the modules that hold values."""
    return {name.strip() for layer in layers_of(1) for name in layer.split("|")}


def wing_of(parts: tuple[str, ...]) -> str:
    """The wing in which a module stands, by its path inside the package."""
    top = parts[0] if parts else ""
    if top in folders():
        return top
    return VALUES if top in values() else DOORS


def imports_of(file: Path) -> set[tuple[str, ...]]:
    """What a file imports of the package, for types as well, each as a path inside it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "htx_async":
            base = tuple((node.module or "").split(".")[1:])
            found |= {base or (alias.name,) for alias in node.names}
    return found


def wings() -> list[Wing]:
    """All of them, from the top down."""
    inside: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        wing = wing_of(parts)
        is_folder = wing not in (DOORS, VALUES) or len(parts) == 1
        inside.setdefault(wing, set()).add(parts[-1] if is_folder else parts[0])
    texts = {name: _about(PACKAGE / name / "__init__.py") for name in folders()} | _TEXTS
    order = (DOORS, *folders(), VALUES)
    return [
        Wing(name, texts[name], tuple(sorted(each for each in inside[name] if each[:2] != "__")))
        for name in order
    ]


def arrows() -> Counter[tuple[str, str]]:
    """How many modules of one wing import one of another."""
    found: Counter[tuple[str, str]] = Counter()
    for file in PACKAGE.rglob("*.py"):
        here = wing_of(file.relative_to(PACKAGE).with_suffix("").parts)
        found.update({(here, wing_of(there)) for there in imports_of(file)})
    return found


def _about(file: Path) -> str:
    told = ast.get_docstring(ast.parse(file.read_text())) or ""
    return " ".join(told.replace("`", "").split())


def _wrapped(words: str) -> list[str]:
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + len(word) >= _CHARACTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def drawn() -> str:
    """The picture: each wing above those that it may know, and the numbers of imports beside."""
    every = wings()
    boxes, middles, height = _boxes(every)
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    about = "The wings of the package, each above those that it may import from"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{about}">',
            f"<title>{about}</title><style>{_STYLE}</style>",
            *boxes,
            *_table([wing.name for wing in every], middles),
            "</svg>\n",
        )
    )


def _boxes(every: list[Wing]) -> tuple[list[str], list[int], int]:
    """The boxes, the middle of each, and where they end."""
    parts, middles, top = [], [], _HEAD
    for wing in every:
        text, modules = _wrapped(wing.text), _wrapped(" · ".join(wing.modules))
        height = 34 + _LINE * (len(text) + len(modules))
        middles.append(top + height // 2)
        parts.append(_rect("box", 10, top, _BOX, height))
        parts.append(_text(24, top + 24, wing.name, "name"))
        for number, line in enumerate(text + modules):
            kind = "" if number < len(text) else "small"
            parts.append(_text(24, top + 24 + _LINE * (number + 1), line, kind))
        top += height + _GAP
    return parts, middles, top


def _table(names: list[str], middles: list[int]) -> list[str]:
    """One cell for each pair: how many modules of the wing beside it import from the one above."""
    parts, count, side = [], arrows(), _CELL - 4
    for column, there in enumerate(names):
        x = _BOX + 40 + column * _CELL
        slanted = f'transform="translate({x + 14},{_HEAD - 6}) rotate(-30)"'
        parts.append(f'<text class="small" {slanted}>{there}</text>')
        for here, middle in zip(names, middles, strict=True):
            number = count[here, there]
            kind = "self" if here == there else "cell" if number else "none"
            parts.append(_rect(kind, x, middle - side // 2, side, side))
            if kind == "cell":
                parts.append(_text(x + side // 2, middle + 5, str(number), "number"))
    return parts


def _rect(kind: str, x: int, y: int, width: int, height: int) -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>'


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(drawn())
