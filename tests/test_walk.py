"""What the pages for newcomers show: output as it is printed, suites that pytest runs, figures."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from htx_async.cli import exit_codes
from htx_async.codes import CodeClass, classify
from htx_async.enums import Outcome
from tests.support.examples import perform
from tests.support.pages import BLOCKS, TEXTS, Block
from tests.support.user_suite import SETTLED, heard, install, run_suite

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


def test_the_table_of_round_trips_is_the_formula_beside_it() -> None:
    """N contracts are done after floor((N - 1) / 5) * (1 + r) + r seconds."""
    rows = re.findall(r"^\| ([\d.]+) (ms|s) \| ([\d.]+) \| (\d+) s \| (\d+) s \|$", NETWORK, re.M)
    assert len(rows) == 4
    for number, unit, rate, *seconds in rows:
        r = float(number) / (1000 if unit == "ms" else 1)
        assert float(rate) == round(5 / (1 + r), 1)
        for contracts, told in zip((40, 230), seconds, strict=True):
            assert int(told) == round((contracts - 1) // 5 * (1 + r) + r)
