"""What the benchmarks measured: kept as JSON, and written from there into the README.

A benchmark saves its result; the README has marks, and what stands between them is never typed by
hand. A block is a table, `<!-- figures:NAME -->` to `<!-- /figures:NAME -->`; one figure in a
sentence is `<!-- figure:NAME.KEY -->` to `<!-- /figure -->`. Run: `python -m benchmarks.figures`
to fill them, with `--check` to learn whether they are filled.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_README = Path(__file__).parent.parent / "README.md"

_INSIDE = r"(?:(?!<!-- /?figure).)*"
_BLOCK = re.compile(rf"(<!-- figures:(\w+) -->\n){_INSIDE}(<!-- /figures:\2 -->)", re.DOTALL)
_SINGLE = re.compile(rf"(<!-- figure:(\w+)\.(\w+) -->){_INSIDE}(<!-- /figure -->)")
_MARK = re.compile(r"<!-- /?figures?\b.*?-->")

Result = Mapping[str, Any]


class BadMark(Exception):
    """A mark in the README that is not closed, or for which there is no figure."""


def installed(*names: str) -> dict[str, str]:
    """The versions of distributions in this environment."""
    return {name: version(name) for name in names}


def save(name: str, result: Result, *, versions: Mapping[str, str]) -> None:
    """Keep what a complete run measured, with the day, the kind of machine and all versions."""
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": dict(versions),
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**result, **about}, indent=1, sort_keys=True, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def saved() -> dict[str, Result]:
    """All results, by name."""
    files = sorted(RESULTS.glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def table(result: Result) -> str:
    """A result as the README shows it."""
    columns, rows = result["columns"], result["rows"]
    ruler = [":--", *("--:" for _ in columns[1:])]
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, ruler, *rows)]
    versions = ", ".join(f"{name} {number}" for name, number in sorted(result["versions"].items()))
    measured = f"Measured on {result['date']}: {result['machine']}, Python {result['python']}"
    told = " ".join(filter(None, (result.get("note"), f"{measured}; {versions}.")))
    return "\n".join([*lines, "", f"<sub>{told}</sub>", ""])


def filled(text: str, results: Mapping[str, Result]) -> str:
    """The README with its figures in place."""

    def block(mark: re.Match[str]) -> str:
        return mark[1] + table(_looked_up(results, mark[2])) + mark[3]

    def single(mark: re.Match[str]) -> str:
        return mark[1] + str(_looked_up(results, mark[2], "inline", mark[3])) + mark[4]

    whole = _SINGLE.sub("", _BLOCK.sub("", text))
    if lost := _MARK.search(whole):
        raise BadMark(f"{lost[0]} has no other half")
    return _SINGLE.sub(single, _BLOCK.sub(block, text))


def _looked_up(source: Mapping[str, Any], *keys: str) -> Any:
    for key in keys:
        if key not in source:
            raise BadMark(f"there is no figure named {key}")
        source = source[key]
    return source


def main() -> int:
    """Fill the README's marks; with `--check`, 0 when they are filled already."""
    text = _README.read_text(encoding="utf-8")
    try:
        right = filled(text, saved())
    except BadMark as problem:
        print(f"README.md: {problem}")
        return 1
    if right == text:
        return 0
    if "--check" in sys.argv[1:]:
        print(
            "README.md has other figures than benchmarks/results; run python -m benchmarks.figures"
        )
        return 1
    _README.write_text(right, encoding="utf-8")
    print("README.md has the figures of benchmarks/results.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
