"""The README and the pages of `docs`: their code runs, their links lead somewhere, the tests that
they name exist, and what they say of the code is what it says."""

import asyncio
import configparser
import inspect
import json
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own

import htx_async
from benchmarks.figures import PAGES, filled, saved
from htx_async import audit, codes, events, logs, otel, redis_limits, simulator
from tests.support.examples import perform
from tests.support.page_shell import run_in_a_shell
from tests.support.pages import BLOCKS, DOCS, NOT_RUN, TEXTS, Block, anchors, links
from tests.support.paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TABLES = runpy.run_path(str(ROOT / ".ci" / "tables.py"))

PYTHON = [block for block in BLOCKS if block.language == "python"]
# What a rehearsal serves stays there: tests/test_rehearsal.py runs that page.
SHELL = [block for block in BLOCKS if block.language == "sh" and block.page != "docs/rehearsal.md"]

FOR_EYES = {"text", "{eval-rst}", "{include} ../CHANGELOG.md"}
"""Blocks of which nothing could be run: transcripts, drawings, and what the built pages read."""


def _ini(code: str) -> None:
    configparser.ConfigParser(strict=False, interpolation=None).read_string(code)


def _dockerfile(code: str) -> None:
    lines = [line for line in code.splitlines() if line and not line.startswith("#")]
    for line in lines:
        instruction, _, rest = line.partition(" ")
        assert instruction in {"FROM", "COPY", "RUN", "ENTRYPOINT", "CMD"}, line
        assert rest
        if instruction in {"ENTRYPOINT", "CMD"}:
            assert all(isinstance(word, str) for word in json.loads(rest))


def _yaml(code: str) -> None:
    assert isinstance(yaml.safe_load(code), dict)


PARSED: dict[str, Callable[[str], object]] = {
    "ini": _ini,
    "json": json.loads,
    "toml": tomllib.loads,
    "dockerfile": _dockerfile,
    "yaml": _yaml,
}
"""Manifests, units and replies: read, and run nowhere."""


def place_of(block: Block) -> str:
    return block.place


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("block", PYTHON, ids=place_of)
def test_python_runs_in_the_simulator(
    block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each block is executed, its functions are called, and no order of any second is one too
    many; one that says why it is not run is at least Python."""
    if not block.is_run:
        compile(block.code, block.place, "exec")
        return
    stage = perform(block.code, block.place, monkeypatch, tmp_path)
    assert stage.exchange.busiest(1.0) <= 5


@pytest.mark.slow
@pytest.mark.long
def test_python_is_typed(tmp_path: Path) -> None:
    """A checker at its strictest finds nothing in what a reader copies."""
    for number, block in enumerate(block for block in PYTHON if block.is_run):
        name = re.sub(r"\W", "_", block.place)
        (tmp_path / f"at_{name}_{number}.py").write_text(block.code, encoding="utf-8")
    settings = ("--config-file", str(ROOT / "pyproject.toml"))
    cache = ("--cache-dir", str(ROOT / ".mypy_cache"))
    command = [sys.executable, "-m", "mypy", *settings, *cache, *map(str, tmp_path.glob("*.py"))]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout


def _scripts() -> dict[str, str]:
    """What each page has to run. A command that stands on several is run with the first of them."""
    scripts: dict[str, str] = {}
    seen: set[str] = set()
    for block in SHELL:
        for line in block.code.splitlines() if block.is_run else ():
            command = line.partition("  #")[0].strip()
            is_whole = command.startswith("htx-async ") and command[-1] not in "\\|"
            if not (is_whole and command in seen):
                scripts[block.page] = scripts.get(block.page, "") + line + "\n"
            seen.add(command)
    return scripts


SCRIPTS = _scripts()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.early
async def test_shell_blocks_run_in_the_simulator(tmp_path: Path) -> None:
    """Each page in one real shell, each command with exit code 0; all pages together, since most of
    the time is waited."""
    for number in range(len(SCRIPTS)):
        (tmp_path / str(number)).mkdir()
    ended = await asyncio.gather(
        *(
            run_in_a_shell(script, tmp_path / str(number))
            for number, script in enumerate(SCRIPTS.values())
        )
    )
    failed = [f"{page}: {told}" for page, (code, told) in zip(SCRIPTS, ended, strict=True) if code]
    assert not failed, "\n\n".join(failed)


@pytest.mark.slow
def test_shell_blocks_that_are_not_run_are_shell() -> None:
    """A shell reads each without complaint, and each says why it is not run."""
    left = [block for block in SHELL if not block.is_run]
    for block in left:
        assert len(block.code.partition("\n")[0]) > len(NOT_RUN) + 5, block.place
        subprocess.run(["/bin/bash", "-n"], input=block.code, text=True, check=True)


def test_every_other_block_is_parsed_or_says_that_it_was_not_run() -> None:
    """None passes for tried that nobody has looked at."""
    for block in BLOCKS:
        if parse := PARSED.get(block.language):
            parse(block.code)
        elif block.language not in {"python", "sh"} | FOR_EYES:
            assert not block.is_run, f"{block.place}: a block of {block.language or 'what?'}"


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    """Files and anchors are there; nothing leads to another host but what is a source."""
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.is_file(), f"{page}: {link}"
        assert file.resolve().is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(file), f"{page}: {link}"


@pytest.mark.parametrize("page", TEXTS)
def test_what_a_page_names_exists(page: str) -> None:
    """Tests, files, benchmarks, targets of make."""
    text = TEXTS[page]
    for path, test in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {test}\(" if test else "", source, re.M), (path, test)
    for path in re.findall(r"`((?:tests|htx_async|docs|benchmarks|examples|\.ci)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`python -m benchmarks\.(\w+)`", text):
        assert (ROOT / "benchmarks" / f"{name}.py").is_file(), name
    for target in re.findall(r"`make ([a-z]+)", text):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


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
    public += [f"htx_async.simulator.{name}" for name in simulator.__all__]
    for door in (audit, codes, events, logs, otel, redis_limits):
        own = [
            one for one in vars(door).values() if getattr(one, "__module__", "") == door.__name__
        ]
        names = [one.__name__ for one in own if inspect.isclass(one) or inspect.isfunction(one)]
        public += [f"{door.__name__}.{name}" for name in names if not name.startswith("_")]
    reference = "".join(text for name, text in TEXTS.items() if name.startswith("docs/reference/"))
    shown = re.findall(
        r"^\.\. auto(?:class|data|function|exception):: ([\w.]+)(?:\(\))?$", reference, re.M
    )
    assert len(shown) == len(set(shown))
    assert set(public) <= set(shown)


def test_every_page_stands_in_the_table_of_contents() -> None:
    """The list in `docs/index.md`, from which the menu is made, has each page once."""
    listed = re.findall(r"^\* \[[^]]+\]\(([\w/-]+\.md)\)", TEXTS["docs/index.md"], re.M)
    pages = {name.removeprefix("docs/") for name in TEXTS if name.startswith("docs/")}
    assert sorted(listed) == sorted(pages - {"index.md"})
    assert {str((DOCS / one).relative_to(ROOT)) for one in listed} < set(TEXTS)


def test_pictures_are_told_in_words_and_load_nothing() -> None:
    """Each is in the repository, is described, and links to nothing outside."""
    shown = {
        (words, ((ROOT / page).parent / path).resolve())
        for page, text in TEXTS.items()
        for words, path in re.findall(r"!\[([^]]*)\]\((\S+)\)", text)
    }
    assert len(shown) > 5
    for words, path in shown:
        picture = path.read_text(encoding="utf-8")
        assert len(words) > 40, path
        assert picture.rstrip().endswith("</svg>"), path
        assert not re.search(r"(?:href|src)=\"(?!#)|@import|@font-face|url\((?!#|&#)", picture)
