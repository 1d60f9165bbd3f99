"""What type checkers catch in a strategy: misspelt settings and words; and what they let pass."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from htx_async import (
    ApiGeneration,
    ContractType,
    Direction,
    HtxSession,
    Look,
    MarginMode,
    Offset,
    SessionSettings,
    enums,
)
from tests.support.paths import ROOT

STRATEGY = '''
import asyncio

from htx_async import (
    CancelGuard,
    CrossMargin,
    Direction,
    HtxSession,
    MarginCalls,
    SessionSettings,
)
from htx_async.simulator import SimulatedExchange


class Strategy(HtxSession):
    """A session of one's own is made from the environment as well."""


async def flat(orders: MarginCalls, side: Direction) -> None:
    await orders.cancel_all_trailing("BTC-USDT", side, "close")
    guard: CancelGuard = orders.cancel_on_exit(["BTC-USDT"], look="first")
    async with guard:
        await orders.cancel_trailing("BTC-USDT", ["1"])
    await orders.cancel_all_trailing("BTC-USDT", "up")  # wrong
    await orders.open_trailing("BTC-USDT", None, "both")  # wrong
    await orders.mass_cancel_trailing(["BTC-USDT"], look="blind")  # wrong


async def main() -> None:
    settings: SessionSettings = {"deadline": 2.0, "generation": "v5"}
    async with Strategy.from_env(**settings) as htx:
        cross: CrossMargin = htx.cross
        await flat(htx, Direction.SELL)
        await flat(cross, Direction.BUY)
        await cross.open_trailing(pair="BTC-USDT", contract_type="quarter")
        await cross.open_trailing(pair="BTC-USDT", contract_type="quarterly")  # wrong
        mine: Strategy = htx
        htx.cross = cross  # wrong
    HtxSession.from_env(generation="v6")  # wrong
    HtxSession.from_env(deadlin=2.0)  # wrong
    Strategy.from_env(deadline="2")  # wrong
    HtxSession.from_env(generation="auto", keep_warm=True, on_event=print)
    HtxSession(SimulatedExchange().credentials, generation="v6")  # wrong
    with SimulatedExchange(account="v5") as exchange:
        print(mine, exchange.url)
    SimulatedExchange(account="v6")  # wrong


asyncio.run(main())
'''
WRONG = [number for number, line in enumerate(STRATEGY.splitlines(), 1) if "# wrong" in line]


def test_the_settings_are_those_of_the_constructor() -> None:
    """By name and type, so that whoever keeps them in a dictionary knows no others."""
    taken = dict(HtxSession.__init__.__annotations__)
    assert [taken.pop(name) for name in ("credentials", "return")] == ["Credentials", "None"]
    stated = {
        name: getattr(one, "__forward_arg__", one)
        for name, one in SessionSettings.__annotations__.items()
    }
    assert stated == taken


def test_the_words_are_those_of_the_enums() -> None:
    """Each literal beside an enum has its values, and the generation "auto" besides."""
    words = {
        enums.DirectionLike: [*Direction],
        enums.OffsetLike: [*Offset],
        enums.ContractTypeLike: [*ContractType],
        enums.LookLike: [*Look],
        enums.MarginModeLike: [*MarginMode],
        enums.GenerationLike: ["auto", *ApiGeneration],
    }
    for alias, values in words.items():
        _, literal = get_args(alias)
        assert list(get_args(literal)) == values


@pytest.mark.slow
@pytest.mark.long
def test_mypy_catches_slips_and_nothing_else(tmp_path: Path) -> None:
    """Each line that is marked, at its strictest."""
    (tmp_path / "strategy.py").write_text(STRATEGY)
    settings = ("--strict", "--cache-dir", str(ROOT / ".mypy_cache"))
    command = [sys.executable, "-m", "mypy", *settings, str(tmp_path / "strategy.py")]
    assert lines(command) == WRONG


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(shutil.which("node") is None, reason="pyright needs Node.js")
def test_pyright_catches_the_same(tmp_path: Path) -> None:
    """Each line that is marked, and no other."""
    (tmp_path / "strategy.py").write_text(STRATEGY)
    here = ("--pythonpath", sys.executable)
    pyright = [str(Path(sys.executable).with_name("pyright")), *here, str(tmp_path / "strategy.py")]
    assert lines(pyright) == WRONG


def lines(command: list[str]) -> list[int]:
    """Where a checker finds an error."""
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        # pyright would ask an index for a later one of itself.
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = re.findall(r"strategy\.py:(\d+):[\d:]* (?:- )?error", done.stdout)
    assert found, done.stdout + done.stderr
    return sorted({int(number) for number in found})
