"""The README and the pages in `docs`: their text, their blocks of code, their links."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.paths import ROOT

DOCS = ROOT / "docs"
_BUILT = DOCS / "_build"
FILES = (
    ROOT / "README.md",
    *(one for one in sorted(DOCS.rglob("*.md")) if _BUILT not in one.parents),
)
TEXTS = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in FILES}
"""By path from the root."""

README = TEXTS["README.md"]

NOT_RUN = "# not run: "
"""How a block begins that is read by nobody but people, and why."""

_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[(?:[^][]|\[[^]]*\])*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A block of code: where it stands, its language, and what is in it."""

    page: str
    line: int
    language: str
    code: str

    @property
    def place(self) -> str:
        """For people."""
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether it does not say that it was not run."""
        return not self.code.startswith(NOT_RUN)


def blocks(page: str) -> Iterator[Block]:
    """All of a page, in their order."""
    text = TEXTS[page]
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        indent = found[1]
        code = "".join(one.removeprefix(indent) for one in found[3].splitlines(keepends=True))
        yield Block(page, line, found[2].strip(), code)


BLOCKS = [block for page in TEXTS for block in blocks(page)]
EXAMPLES = [block.code for block in BLOCKS if block.language == "python"]


def example(*words: str) -> str:
    """The one Python block that has all of `words`."""
    (found,) = {code for code in EXAMPLES if all(word in code for word in words)}
    return found


def execute(code: str, namespace: dict[str, Any], place: str = "an example") -> None:
    exec(compile(code, place, "exec"), namespace)  # noqa: S102 - our own pages


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", TEXTS[page])


def links(page: str) -> list[str]:
    """Where a page leads, pictures included."""
    return _LINK.findall(prose(page))


def anchors(file: Path) -> set[str]:
    """Those of a page's headings, as GitHub and the built pages name them."""
    text = _FENCE.sub("", file.read_text(encoding="utf-8"))
    words = (re.sub(r"[^\w\- ]", "", found.lower()) for found in _HEADING.findall(text))
    return {each.strip().replace(" ", "-") for each in words}
