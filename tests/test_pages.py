"""The pages of `docs` and the README say what the code and the benchmarks say."""

import re
import runpy
from pathlib import Path

import pytest

import htx_async
from benchmarks.figures import PAGES, filled, saved
from htx_async import audit, events, simulator
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
TABLES = runpy.run_path(str(ROOT / ".ci" / "tables.py"))
REFERENCE = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("reference/*.md"))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_stands_between_marks_is_what_was_measured_and_what_the_code_says(page: Path) -> None:
    """To the letter; `make figures` brings a page up to date."""
    text = page.read_text(encoding="utf-8")
    assert filled(text, saved()) == text
    assert TABLES["filled"](text) == text


def test_every_table_of_the_code_stands_on_a_page() -> None:
    """Outcomes, errors, exit codes and endpoints are each shown."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"<!-- code:([\w-]+) -->", text)) == set(TABLES["TABLES"])


def test_every_mark_has_its_other_half() -> None:
    """A mark that nothing ends is no silent hole."""
    with pytest.raises(ValueError, match="has no other half"):
        TABLES["filled"]("<!-- code:outcomes -->\n")


def test_the_reference_has_everything_that_a_user_can_hold() -> None:
    """Each public name of the package and of the modules that users import has its place."""
    public = [f"htx_async.{name}" for name in vars(htx_async)["__all__"]]
    heard = [one.__name__ for one in events.Event.__args__]
    public += [f"htx_async.events.{name}" for name in (*heard, "WritesAhead")]
    public += [f"htx_async.simulator.{name}" for name in simulator.__all__]
    public += [f"htx_async.audit.{name}" for name in vars(audit).get("__all__", ("AuditLog",))]
    public += ["htx_async.otel.OpenTelemetry", "htx_async.redis_limits.RedisTokenBucket"]
    shown = re.findall(r"^\.\. auto(?:class|data|function|exception):: (\S+)$", REFERENCE, re.M)
    assert len(shown) == len(set(shown))
    assert set(public) <= set(shown)


def test_every_page_stands_in_the_table_of_contents() -> None:
    """The list in `docs/index.md` has each page once, with the words of its heading or fewer."""
    listed = re.findall(r"^\* \[[^]]+\]\(([\w/-]+\.md)\)", (DOCS / "index.md").read_text(), re.M)
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"index.md"}
    built = {page for page in pages if page.startswith("_")}
    assert sorted(listed) == sorted(pages - built)
