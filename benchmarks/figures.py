"""What the benchmarks measured: kept as JSON, and written from there into README and `docs`.

A benchmark saves its result; the pages have marks, and what stands between them is never typed by
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
_ROOT = Path(__file__).parent.parent
PAGES = (_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md")))
"""Where figures may stand."""

_INSIDE = r"(?:(?!<!-- /?figure).)*"
_BLOCK = re.compile(rf"(<!-- figures:(\w+) -->\n){_INSIDE}(<!-- /figures:\2 -->)", re.DOTALL)
_SINGLE = re.compile(rf"(<!-- figure:(\w+)\.(\w+) -->){_INSIDE}(<!-- /figure -->)")
_MARK = re.compile(r"<!-- /?figures?\b.*?-->")

Result = Mapping[str, Any]


class BadMark(Exception):
    """A mark on a page that is not closed, or for which there is no figure."""


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
    """A result as the pages show it."""
    columns, rows = result["columns"], result["rows"]
    ruler = [":--", *("--:" for _ in columns[1:])]
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, ruler, *rows)]
    versions = ", ".join(f"{name} {number}" for name, number in sorted(result["versions"].items()))
    measured = f"Measured on {result['date']}: {result['machine']}, Python {result['python']}"
    told = " ".join(filter(None, (result.get("note"), f"{measured}; {versions}.")))
    return "\n".join([*lines, "", f"<sub>{told}</sub>", ""])


def filled(text: str, results: Mapping[str, Result]) -> str:
    """A page with its figures in place."""

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
    """Fill the marks of every page; with `--check`, 0 when they are filled already."""
    results = saved()
    return max([_fill(page, results) for page in PAGES])


def _fill(page: Path, results: Mapping[str, Result]) -> int:
    text, name = page.read_text(encoding="utf-8"), page.relative_to(_ROOT)
    try:
        right = filled(text, results)
    except BadMark as problem:
        print(f"{name}: {problem}")
        return 1
    if right == text:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{name} has other figures than benchmarks/results; run python -m benchmarks.figures")
        return 1
    page.write_text(right, encoding="utf-8")
    print(f"{name} has the figures of benchmarks/results.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
