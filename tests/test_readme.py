"""The README: a screen and a half, in an order of its own, and true."""

import re
from typing import Any

import pytest

import htx_async
from benchmarks.figures import saved
from benchmarks.time_to_flat.picture import PICTURE, drawn
from htx_async.simulator import SimulatedExchange
from tests.support.examples import perform
from tests.support.pages import README, TEXTS, blocks, example, execute
from tests.support.paths import ROOT
from tests.support.virtual import run, virtual_session

EXAMPLES = [block.code for block in blocks("README.md") if block.language == "python"]


def test_it_is_short() -> None:
    """What is longer belongs on a page."""
    assert len(README.splitlines()) <= 200
    assert len(README.encode()) <= 12_000


def test_the_first_example_cancels_what_it_places(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands; and without the three lines that are marked, from the environment, the same."""
    perform(EXAMPLES[0], "README.md", monkeypatch, tmp_path)
    assert re.match(r"cancelled \('\d+', '\d+', '\d+'\)$", capsys.readouterr().out)
    kept = [line for line in EXAMPLES[0].splitlines() if not line.endswith("  # simulated")]
    assert len(kept) == len(EXAMPLES[0].splitlines()) - 3
    real, changes = re.subn(
        r"HtxSession\(.*\) as htx", "HtxSession.from_env() as htx", "\n".join(kept)
    )
    assert changes == 1
    stage = perform(real, "README.md", monkeypatch, tmp_path)
    assert {order.contract_code for order in stage.exchange.open_orders()} == {"ETH-USDT"}


def test_the_error_example_catches_what_it_names() -> None:
    """The handler meets each of its three branches, on the page of errors, too."""
    for text in (example_of("README.md"), example_of("docs/errors.md")):
        namespace: dict[str, Any] = {}
        execute(text, namespace)
        run(_three_branches(namespace["pull"]))


def example_of(page: str) -> str:
    (found,) = [block.code for block in blocks(page) if "except NotSent" in block.code]
    return found


async def _three_branches(pull: Any) -> None:
    exchange = SimulatedExchange()
    async with virtual_session(exchange) as htx:
        await pull(htx, "BTC-USDT")
        exchange.refuse(403)
        await pull(htx, "BTC-USDT")
        exchange.bad_gateway(times=4)
        await pull(htx, "BTC-USDT")
    assert len(exchange.arrivals) == 6


def test_new_orders_are_placed_where_old_ones_are_known_to_be_gone() -> None:
    """The loop places nothing on a contract that it could not confirm, nor on one of which an order
    has triggered, and tells which these are."""
    namespace: dict[str, Any] = {}
    execute(example("async def replace("), namespace)
    placed: list[str] = []

    async def place(contract_code: str) -> None:
        placed.append(contract_code)

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place("BTC-USDT", "buy", "close", 2)
        exchange.place("ETH-USDT", "buy", "close", 2)
        exchange.refuse(403, contract_code="ETH-USDT", times=99)
        (triggers, _) = exchange.place("XRP-USDT", "buy", "close", 2)
        exchange.trigger(triggers, 0.3)
        exchange.cancel_delay = 0.5
        codes = ["BTC-USDT", "ETH-USDT", "XRP-USDT"]
        async with virtual_session(exchange) as htx:
            left = await namespace["replace"](htx, codes, place)
        assert (placed, left) == (["BTC-USDT"], ["ETH-USDT", "XRP-USDT"])
        assert {order.contract_code for order in exchange.open_orders()} == {"ETH-USDT"}

    run(main())


def test_the_tree_of_errors_is_the_real_one() -> None:
    """Every class drawn on the page of errors exists, and none is missing."""
    drawn_ones = set(
        re.findall(r"(?:├──|└──|^)\s*([A-Z]\w+)", TEXTS["docs/errors.md"], re.MULTILINE)
    )
    real = {name for name in vars(htx_async)["__all__"] if name in htx_async.errors.__all__}
    assert real <= drawn_ones


def test_every_promise_names_what_attacks_it() -> None:
    """Each row of the table names a test, a benchmark or a target of make."""
    page = TEXTS["docs/promises.md"]
    table = page.partition("| promise | the attack |\n")[2].partition("\n\n")[0]
    rows = table.splitlines()[1:]
    assert len(rows) > 20
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        benchmarks = re.findall(r"`python -m benchmarks\.(\w+)`", row)
        assert tests or benchmarks or re.findall(r"`make (\w+)`", row), row


def test_examples_need_nothing_but_the_package() -> None:
    """The examples import nothing that the package does not bring."""
    imported = {
        line.split()[1].split(".")[0]
        for one in EXAMPLES
        for line in one.splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported == {"asyncio", "collections", "htx_async"}


def test_its_picture_shows_what_was_measured() -> None:
    """Orders still open over time: drawn from the saved curves, to the letter, for light and dark
    pages, and told in words."""
    result = saved()["flat"]
    picture = PICTURE.read_text(encoding="utf-8")
    (shown,) = re.findall(r"!\[[^]]*\]\((\S+)\)", README)
    assert shown == str(PICTURE.relative_to(ROOT))
    assert picture == drawn(result)
    assert "prefers-color-scheme: dark" in picture
    assert all(f"{curve['label']}: " in picture for curve in result["curves"])
