"""The Python of the README and of the pages in `docs` runs as it stands there."""

import re
from typing import Any

import pytest

import htx_async
from benchmarks.figures import filled, saved
from benchmarks.time_to_flat.picture import PICTURE, drawn
from htx_async import HtxSession
from htx_async.simulator import SimulatedExchange
from tests.support.pages import _BLOCK, EXAMPLES, PAGES, README, execute
from tests.support.paths import ROOT
from tests.support.virtual import run, virtual_session

ALL_EXAMPLES = {
    f"{name}-{number}": example
    for name, page in {"README.md": README, **PAGES}.items()
    for number, example in enumerate(_BLOCK.findall(page))
}


@pytest.mark.parametrize("example", ALL_EXAMPLES.values(), ids=ALL_EXAMPLES)
def test_every_example_runs_against_the_simulated_exchange(
    example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block is executed; what would reach the exchange reaches a simulated one."""
    exchange = SimulatedExchange(access_key="access-key", secret_key="secret-key")
    exchange.place("BTC-USDT", "buy", "close", 2)
    namespace: dict[str, Any] = {"__name__": "example"}
    real = HtxSession.__init__

    def on_loopback(self: HtxSession, *args: Any, **settings: Any) -> None:
        real(self, *args, **settings)
        if "base_urls" not in settings:
            self._opening.transport = virtual_session(exchange)._opening.transport

    with monkeypatch.context() as patch:
        patch.setattr(HtxSession, "__init__", on_loopback)
        execute(example, namespace)
    if "asyncio.run" in example and "SimulatedExchange" not in example:
        assert not exchange.open_orders()


def test_the_error_example_catches_what_it_names() -> None:
    """The handler of the README meets each of its three branches."""
    (example,) = [text for text in EXAMPLES if "except NotSent" in text]
    namespace: dict[str, Any] = {}
    execute(example, namespace)

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            await namespace["pull"](htx, "BTC-USDT")
            exchange.refuse(403)
            await namespace["pull"](htx, "BTC-USDT")
            exchange.bad_gateway(times=4)
            await namespace["pull"](htx, "BTC-USDT")
        assert len(exchange.arrivals) == 6

    run(main())


def test_the_tree_of_errors_is_the_real_one() -> None:
    """Every class drawn in the README exists, and none is missing."""
    drawn = set(re.findall(r"(?:├──|└──|^)\s*([A-Z]\w+)", README, re.MULTILINE))
    real = {name for name in vars(htx_async)["__all__"] if name in htx_async.errors.__all__}
    assert real <= drawn


def test_every_promise_names_what_attacks_it() -> None:
    """Each row of the table names a test, a benchmark or a target of make that is there."""
    table = README.partition("| promise | the attack |\n")[2].partition("\n\n")[0]
    rows = table.splitlines()[1:]
    assert len(rows) > 20
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        benchmarks = re.findall(r"`python -m benchmarks\.(\w+)`", row)
        targets = re.findall(r"`make (\w+)`", row)
        assert tests or benchmarks or targets, row
        for path, test in tests:
            assert re.search(rf"^(async )?def {test}" if test else "", source(path), re.MULTILINE)
        for name in benchmarks:
            assert source(f"benchmarks/{name}.py")
        for target in targets:
            assert re.search(rf"^{target}:", source("Makefile"), re.MULTILINE)


def source(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_figures_are_those_that_were_measured() -> None:
    """What the README says between the marks is what the benchmarks saved, to the letter."""
    assert filled(README, saved()) == README


def test_examples_need_nothing_but_the_package() -> None:
    """The examples import nothing that the package does not bring, but for what they are about."""
    imported = {
        line.split()[1].split(".")[0]
        for e in EXAMPLES
        for line in e.splitlines()
        if line.startswith(("import ", "from "))
    }
    about = {"opentelemetry", "sentry_sdk"}
    assert imported == {"aiohttp", "asyncio", "datetime", "htx_async", "os", "re", "signal"} | about


PICTURES = re.findall(r"!\[([^]]*)\]\((\S+)\)", README)


@pytest.mark.parametrize(("words", "path"), PICTURES, ids=[path for _, path in PICTURES])
def test_pictures_are_there_are_told_in_words_and_load_nothing(words: str, path: str) -> None:
    """Each is in the repository, says in words what it shows, and links to nothing outside."""
    picture = source(path)
    assert len(words) > 40
    assert picture.rstrip().endswith("</svg>")
    assert not re.search(r"(?:href|src)=\"(?!#)|@import|@font-face|url\((?!#|&#)", picture)


def test_the_first_picture_shows_what_was_measured() -> None:
    """Orders still open over time: drawn from the saved curves, to the letter, for light and dark
    pages, and told in words."""
    result = saved()["flat"]
    picture = PICTURE.read_text(encoding="utf-8")
    assert PICTURES[0][1] == str(PICTURE.relative_to(ROOT))
    assert picture == drawn(result)
    assert "prefers-color-scheme: dark" in picture
    assert all(f"{curve['label']}: " in picture for curve in result["curves"])
