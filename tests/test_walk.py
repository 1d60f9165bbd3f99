"""What the pages for newcomers show: output as it is printed, suites that pytest runs, figures."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from htx_async.cli import exit_codes
from htx_async.codes import CodeClass, classify
from htx_async.enums import Outcome
from htx_async.simulator import SimulatedExchange
from tests.support.examples import perform
from tests.support.pages import BLOCKS, TEXTS, Block, example, execute
from tests.support.paths import ROOT
from tests.support.user_suite import SETTLED, heard, install, run_suite
from tests.support.virtual import run, virtual_session

PRINTED = [
    (first, then)
    for first, then in pairwise(BLOCKS)
    if first.page == then.page == "docs/quickstart.md"
    and (first.language, then.language) == ("python", "text")
]
RUNBOOK, NETWORK = TEXTS["docs/runbook.md"], TEXTS["docs/your-network.md"]


@pytest.mark.parametrize(("block", "shown"), PRINTED, ids=lambda block: block.place)
def test_the_quickstart_prints_what_it_shows(
    block: Block,
    shown: Block,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """To the letter, but for the number of an order."""
    perform(block.code, block.place, monkeypatch, tmp_path)
    told = capsys.readouterr().out
    assert _without_ids(told) == _without_ids(shown.code)


def _without_ids(text: str) -> str:
    return re.sub(r"\d{15,}", "ID", text)


def test_each_program_of_the_quickstart_is_followed_by_what_it_prints() -> None:
    """Whoever types it in can compare."""
    programs = [b for b in BLOCKS if b.page == "docs/quickstart.md" and "asyncio.run(" in b.code]
    assert [block for block, _ in PRINTED] == programs
    assert len(programs) == 3


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.early
def test_the_suites_of_the_page_on_testing_pass_in_pytest(tmp_path: Path) -> None:
    """All of its Python in one module, with the settings that it shows, and every test runs."""
    mine = [block for block in BLOCKS if block.page == "docs/testing.md"]
    (settings,) = [block.code for block in mine if block.language == "ini"]
    suite = "\n\n".join(block.code for block in mine if block.language == "python")
    options = [
        part
        for line in settings.splitlines()
        if " = " in line
        for part in ("-o", line.replace(" = ", "="))
    ]
    install(tmp_path)
    done = run_suite(tmp_path, suite, *SETTLED, *options)
    assert done.returncode == 0, heard(done)
    assert f"{suite.count('def test_')} passed" in done.stdout


def test_the_runbook_knows_every_exit_code_and_every_code_by_its_class() -> None:
    """Each exit code of a cancel has its row; the exchange's codes mean what the code says."""
    table = RUNBOOK.partition("| exit code | what it means | next |")[2].partition("\n\n")[0]
    named = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    codes = {exit_codes.exit_code(outcome, interrupted=False) for outcome in Outcome}
    assert named == codes | {exit_codes.INTERNAL, exit_codes.USAGE, exit_codes.INTERRUPTED}
    refused = RUNBOOK.partition("## Refused (exit code 3)")[2].partition("\n## ")[0]
    expected = {
        CodeClass.AUTH: [403, *range(12001, 12010)],
        CodeClass.RATE_LIMITED: [1032],
        CodeClass.RETRYABLE: [1056, 1059],
        CodeClass.MIGRATED: [4002, 4003, 4004, 4005, 6001, 6002, 6023, 1510],
        CodeClass.RETIRED: [10000],
        CodeClass.NOT_RETRYABLE: [1013, 1014, 1088],
    }
    for kind, each in expected.items():
        assert {classify(code) for code in each} == {kind}
        assert str(each[0]) in refused
        assert str(each[-1]) in refused


def test_the_words_that_the_runbook_quotes_are_those_of_the_code() -> None:
    """Somebody will look for them on the screen."""
    source = "".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "htx_async").rglob("*.py")
    )
    words = re.sub(r'"\s*\n\s*f?"', "", source)
    sections = re.findall(r"^## (?:Nothing was sent|It is slow).*?(?=^## )", RUNBOOK, re.M | re.S)
    quoted = [one for part in sections for one in re.findall(r'"([^"]+)"', part)]
    assert len(quoted) >= 4
    assert [one for one in quoted if one not in words] == []


def done(contracts: int, r: float) -> float:
    """Seconds, at a round trip of `r`: the formula on the page about networks."""
    return (contracts - 1) // 5 * (1 + r) + r


def test_the_readme_says_how_long_it_takes_by_the_same_formula() -> None:
    """For a few contracts, forty and all, at the round trip that it names."""
    (told,) = re.findall(r"at a round trip of ([\d.]+) s (.*?);", TEXTS["README.md"])
    needs = re.findall(r"(\d+) (?:contracts )?need ([\d.]+) s", told[1])
    assert [contracts for contracts, _ in needs] == ["5", "40", "230"]
    for contracts, seconds in needs:
        exact = done(int(contracts), float(told[0]))
        assert float(seconds) == round(exact, 1 if exact < 1 else 0)


def test_the_table_of_round_trips_is_the_formula_beside_it() -> None:
    """N contracts are done after floor((N - 1) / 5) * (1 + r) + r seconds."""
    rows = re.findall(r"^\| ([\d.]+) (ms|s) \| ([\d.]+) \| (\d+) s \| (\d+) s \|$", NETWORK, re.M)
    assert len(rows) == 4
    for number, unit, rate, *seconds in rows:
        r = float(number) / (1000 if unit == "ms" else 1)
        assert float(rate) == round(5 / (1 + r), 1)
        for contracts, told in zip((40, 230), seconds, strict=True):
            assert int(told) == round(done(contracts, r))


def _lost(exchange: SimulatedExchange) -> None:
    exchange.lose_after_work()


def _refused(exchange: SimulatedExchange) -> None:
    exchange.refuse(1088)


def _away(exchange: SimulatedExchange) -> None:
    exchange.outage(60.0, "gateway")


def _triggered(exchange: SimulatedExchange) -> None:
    exchange.reject_order(exchange.open_orders()[0].order_id, 1063)


@pytest.mark.parametrize(
    ("meets", "places"),
    [(None, True), (_lost, True), (_refused, False), (_away, False), (_triggered, False)],
    ids=["nothing", "a lost answer", "a refusal", "an outage", "a trigger"],
)
def test_a_new_order_of_the_same_side_waits_for_the_old_one(
    meets: Callable[[SimulatedExchange], None] | None, places: bool
) -> None:
    """The quickstart's function never leaves two orders, and places none beside an old one."""
    namespace: dict[str, Any] = {}
    execute(example("async def place_again("), namespace)
    exchange = SimulatedExchange()
    (old,) = exchange.place("BTC-USDT", "sell", "close")
    if meets is not None:
        meets(exchange)

    async def place(contract_code: str) -> None:
        assert not exchange.open_orders(contract_code)
        exchange.place(contract_code, "sell", "close")

    async def main() -> None:
        async with virtual_session(exchange) as htx:
            assert await namespace["place_again"](htx, "BTC-USDT", place) is places

    run(main())
    left = [order.order_id for order in exchange.open_orders()]
    assert (len(left) == 1 and left != [old]) if places else left in ([old], [])
