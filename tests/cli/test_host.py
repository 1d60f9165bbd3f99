"""Commands share their limit with the other processes of the host, unless they are told not to."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from htx_async import HostTokenBucket
from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    ACCESS,
    CODE,
    Ended,
    Run,
    after_plan,
    cancel_all,
    cli,
    exchange_of_the_command,
    one_by_one,
)
from tests.support.host_files import content, files_in, key_of, opened

pytestmark = pytest.mark.slow

NAME = "desk-7"


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command() as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of both accounts, in use."""
    for account in (ACCESS, NAME):
        opened(tmp_path / key_of(account), account)
    return tmp_path


def modes(result: Ended) -> set[Any]:
    """Whose tokens the requests of a cancel took."""
    (report,) = json.loads(result.out)["reports"]
    return {one["limiter_mode"] for one in (*report["attempts"], *report["reads"])}


def used(folder: Path, account: str) -> set[str]:
    """Endpoints for which tokens were taken."""
    return {one["endpoint"] for one in content(folder / key_of(account))["tokens"].values()}


@pytest.mark.slow
@pytest.mark.long
async def test_a_command_shares_with_its_host(exchange: SimulatedExchange, folder: Path) -> None:
    """Cancels and reads, under the access key or the name that is given; the plan and the doctor
    say where the file lies and who uses it, and the file has neither key nor name."""
    exchange.place(CODE, "sell", "close")
    to = ("--base-url", exchange.url)
    shared: dict[str, str | None] = {"HTX_HOST_LIMIT": str(folder)}
    cancelled, listed, dry, well, named = await one_by_one(
        Run(cancel_all(exchange, CODE, "--confirm", "--json"), shared),
        Run(("open", CODE, "--json", *to), shared),
        Run(("cancel-all", CODE, "--dry-run", "--json", *to), shared),
        Run(("doctor", *to), shared),
        Run(cancel_all(exchange, CODE, "--json", "--account", NAME, "--share-of", "2"), shared),
    )
    results = (cancelled, listed, dry, well, named)
    said = (after_plan(cancelled.err), listed.err, dry.err, well.err, after_plan(named.err))
    assert [one.code for one in results] == [0] * 5, results
    assert said == ("", said[1], "", "", "")
    assert said[1].startswith("Read: ")
    assert modes(cancelled) == modes(named) == {"shared"}
    assert "reads" in used(folder, ACCESS)
    assert len(used(folder, ACCESS)) == 2
    # The cancel, and the list of the other margin mode.
    assert len(used(folder, NAME)) == 2
    file = folder / key_of(ACCESS)
    told = f"shared with other processes of this host; {file}, used in the last minute by "
    assert json.loads(dry.out)["limit"].startswith(told)
    assert f"ok   limiter: {file}, used in the last minute by " in well.out
    stored = b"".join(one.read_bytes() for one in files_in(folder))
    assert ACCESS.encode() not in stored
    assert NAME.encode() not in stored


async def test_a_session_and_a_command_meet_unasked(
    exchange: SimulatedExchange, folder: Path
) -> None:
    """The session has given its access key, as the command does: what it has in use, the command
    waits for."""
    async with HostTokenBucket(ACCESS, path=folder, lease=120.0) as bucket:
        path = next(iter(await asyncio.gather(_arrives_at(exchange, folder))))
        for _ in range(5):
            await bucket.take(path).__aenter__()
        late = await cli(
            *cancel_all(exchange, CODE, "--json", "--deadline", "1.5"), HTX_HOST_LIMIT=folder
        )
        assert late.code == 6
        assert "(htx_async, " in await bucket.reach()


async def _arrives_at(exchange: SimulatedExchange, folder: Path) -> str:
    done = await cli(*cancel_all(exchange, CODE, "--json"), HTX_HOST_LIMIT=folder)
    assert done.code == 0
    return next(one.path for one in exchange.arrivals if one.path.endswith("cancelall"))


async def test_who_must_can_do_without(exchange: SimulatedExchange, folder: Path) -> None:
    """`--no-host-limit`, or `HTX_HOST_LIMIT=0` unless `--host-limit` says otherwise; then a name
    needs a fleet. What is no place is refused."""
    shared: dict[str, str | None] = {"HTX_HOST_LIMIT": str(folder)}
    off: dict[str, str | None] = {"HTX_HOST_LIMIT": "0"}
    wrong: dict[str, str | None] = {"HTX_HOST_LIMIT": "yes"}
    command = cancel_all(exchange, CODE, "--json")
    without, by_variable, named, refused = await one_by_one(
        Run((*command, "--no-host-limit"), shared),
        Run(command, off),
        Run((*command, "--no-host-limit", "--account", NAME), shared),
        Run(command, wrong),
    )
    assert [one.code for one in (without, by_variable, named, refused)] == [0, 0, 2, 2]
    assert modes(without) == modes(by_variable) == {None}
    assert "needs --redis" in named.err
    assert "HTX_HOST_LIMIT must be 1, 0 or" in refused.err
    assert used(folder, ACCESS) == set()


async def test_a_command_that_cannot_share_says_so_and_goes_on(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    """On stderr, in the account, in the plan; the doctor fails."""
    exchange.place(CODE, "sell", "close")
    foreign = tmp_path / "notes"
    foreign.write_text("somebody's notes")
    shared: dict[str, str | None] = {"HTX_HOST_LIMIT": str(foreign)}
    to = ("--base-url", exchange.url)
    cancelled, dry, ill = await one_by_one(
        Run(cancel_all(exchange, CODE), shared),
        Run(("cancel-all", CODE, "--dry-run", "--json", *to), shared),
        Run(("doctor", *to), shared),
    )
    assert [one.code for one in (cancelled, dry, ill)] == [0, 0, 6]
    why = f"{foreign} is another program's file, and was left as it is"
    assert after_plan(cancelled.err).splitlines() == [
        f"{why}: going on with this process's own share, 1/5 of the limit.",
        f"{CODE} (isolated): cancelled",
    ]
    unfolded = " ".join(cancelled.out.split())
    assert "Besides, for 1 contract: the limit could not be shared" in unfolded
    assert "Besides, 1 request went without Redis or the host's file" in unfolded
    assert f"but {why}, so that this one" in json.loads(dry.out)["limit"]
    assert f"FAIL limiter: {why}" in ill.out
    assert foreign.read_text() == "somebody's notes"
    assert exchange.open_orders() == ()


@pytest.mark.slow
@pytest.mark.long
async def test_a_place_that_is_no_utf_8_keeps_no_document_back(exchange: SimulatedExchange) -> None:
    """A cancel that went, and a report that nobody sees, would be the worst of both."""
    folder = "/nowhere/caf\udce9"
    commands = [
        Run((*cancel_all(exchange, CODE, "--json"),), {"HTX_HOST_LIMIT": folder}),
        Run(("doctor", "--json", "--base-url", exchange.url), {"HTX_HOST_LIMIT": folder}),
    ]
    cancelled, examined = await one_by_one(*commands)
    assert cancelled.code == 0
    (report,) = json.loads(cancelled.out)["reports"]
    assert "/nowhere/caf\\udce9: No such file or directory" in report["warnings"][0]
    told = {one["subject"]: one["told"] for one in json.loads(examined.out)}
    assert folder in told["limiter"]
