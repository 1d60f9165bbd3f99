"""`simulate` as a process: what it serves, the file of its keys, and what is said to it."""

import asyncio
import json
import os
import re
import signal
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from htx_async.simulator import SimulatedExchange
from tests.support.command import PATIENCE, Ended, Run, Terminal, cli, ended, one_by_one, started

pytestmark = pytest.mark.slow


class Served(NamedTuple):
    """A simulation that runs: its process, what it printed, and what its keys file sets."""

    process: asyncio.subprocess.Process
    guide: str
    variables: Mapping[str, str | None]

    def run(self, *args: str) -> Run:
        """A command with those variables."""
        return Run(args, self.variables)


def sourced(file: Path) -> dict[str, str | None]:
    """What a shell gets of a keys file; its own variables for keys are taken out."""
    text = file.read_text()
    unset = re.findall(r"^unset (.*)$", text, re.MULTILINE)[0].split()
    exports = dict(re.findall(r"^export (HTX_\w+)=(\S+)$", text, re.MULTILINE))
    return {**dict.fromkeys(unset), **exports}


@asynccontextmanager
async def served(file: Path, *args: str) -> AsyncIterator[Served]:
    process = await started("-m", "htx_async", "simulate", "--keys-file", str(file), *args)
    assert process.stdout is not None
    guide = b""
    try:
        while b"simulate status" not in guide.rpartition(b"In another terminal")[2]:
            line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            assert line, guide
            guide += line
        yield Served(process, guide.decode(), sourced(file))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def stopped(simulation: Served) -> Ended:
    simulation.process.send_signal(signal.SIGTERM)
    return await ended(simulation.process)


async def test_a_simulation_with_everything_is_cancelled_and_read_back(tmp_path: Path) -> None:
    """40 contracts in both margins, with faults, refill and a keys file: the commands need nothing
    but that file, the book agrees with them, and no key is shown anywhere."""
    file = tmp_path / "sim.keys"
    args = ("--contracts", "40", "--margin", "both", "--faults", "--seed", "7", "--orders", "2")
    async with served(file, *args) as simulation:
        guide, run = simulation.guide, simulation.run
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "36 more" in guide
        assert "2 on each, in isolated margin and in cross margin" in guide
        assert guide.count("\n  ") >= 8
        assert f". {file}\n" in guide
        results = await one_by_one(
            run("simulate", "place", "BTC-USDT", "ABC-USDT", "--orders", "3", "--margin", "cross"),
            run("open", "--all", "--margin", "both", "--json"),
            run("cancel-all", "NOPE-USDT", "--yes"),
            run("cancel-all", "BTC-USDT", "--yes", "--json", "--margin", "cross"),
            run("simulate", "orders", "BTC-USDT"),
            run("simulate", "orders", "BTC-USDT", "NOPE-USDT"),
            run("simulate", "orders", "--margin", "cross", "--json"),
            run("simulate", "status"),
        )
        placed, read, unknown, cancelled, book, none_such, rows, state = results
        assert placed.out.endswith("on ABC-USDT in cross margin; the contract is new.\n")
        assert len(json.loads(read.out)) == 166
        assert unknown.code == 3
        assert "1014" in unknown.out
        assert len(json.loads(cancelled.out)["reports"][0]["successes"]) == 5
        assert book.out.endswith("In the book: 2 open orders.\n")
        assert (none_such.code, none_such.out) == (2, "")
        assert "there is no contract NOPE-USDT here" in none_such.err
        assert len(json.loads(rows.out)) == 81
        assert re.search(r"^open orders +80 in isolated margin, 81 in cross", state.out, re.M)
        last = await stopped(simulation)
    assert last.code == 0
    assert "orders still open: 161." in last.out
    assert not file.exists()
    keys = {simulation.variables[name] or "" for name in ("HTX_ACCESS_KEY", "HTX_SECRET_KEY")}
    everything = guide + last.out + "".join(one.out + one.err for one in results)
    assert not [key for key in keys if key in everything]


async def test_faults_outages_moves_and_refills_are_told_to_one_that_runs(tmp_path: Path) -> None:
    """Each by its command, and by plain JSON over HTTP; what cannot be is exit 2 and told."""
    async with served(tmp_path / "keys", "--generation", "moving", "--refill") as simulation:
        run, url = simulation.run, simulation.variables["HTX_BASE_URL"]
        assert url is not None
        assert "from the 10th signed request on" in simulation.guide
        fault, none, wrong, odd, outage, over, refill, before = await one_by_one(
            run("simulate", "fault", "late", "--seconds", "9", "--call", "any", "--times", "2"),
            run("simulate", "fault", "none"),
            run("simulate", "fault", "fire"),
            run("simulate", "fault", "maintain", "--code", "7"),
            run("simulate", "outage", "30", "--kind", "reset"),
            run("open", "BTC-USDT", "--deadline", "1"),
            run("simulate", "refill", "0"),
            run("simulate", "--port", "1", "status"),
        )
        assert fault.out == "Armed, and 2 in all wait for their request.\n"
        assert "forgotten" in none.out
        assert [wrong.code, odd.code, before.code] == [2, 2, 2]
        assert "is no fault" in wrong.err
        assert "simulate" in before.err
        assert outage.out.startswith("Outage (reset): 30 s")
        assert over.code == 5
        assert refill.out == "Orders that come back after a cancel: 0 a second.\n"
        async with aiohttp.ClientSession(url) as http:
            async with http.post("/_control/outage", json={"seconds": 0}) as reply:
                assert await reply.json() == {"outage_left": 0.0}
            reader, writer = await asyncio.open_connection("127.0.0.1", url.rpartition(":")[2])
            writer.write(b"no HTTP\r\n\r\n")
            assert b" 400 " in await reader.read()
            writer.close()
            for headers in ({"Origin": url}, {"Host": "rebound.example"}):
                async with http.get("/_control", headers=headers) as reply:
                    assert reply.status == 403
        moved, cancelled, state = await one_by_one(
            run("simulate", "move"),
            run("cancel-all", "BTC-USDT", "--yes", "--json"),
            run("simulate", "status", "--json"),
        )
        assert moved.out == "The account is on v5 now.\n"
        assert len(json.loads(cancelled.out)["reports"][0]["successes"]) == 5
        told = json.loads(state.out)
        assert told["open"] == {"isolated": 5, "cross": 0}
        assert told["ended"] == 5
        assert (told["generation"], told["refill"], told["outage_left"]) == ("v5", 0.0, 0.0)
        assert (await stopped(simulation)).err == ""


async def test_a_keys_file_overwrites_nothing_of_another_hand(tmp_path: Path) -> None:
    """A link, also to nowhere, a folder, another's file, a folder that is missing: exit 2, nothing
    is served or changed; what an earlier simulation has left is replaced."""
    mine = tmp_path / "mine"
    mine.write_text("export HTX_ACCESS_KEY=real\n")
    (tmp_path / "link").symlink_to(mine)
    (tmp_path / "dangling").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    names = ("mine", "link", "dangling", "pipe", ".", "missing/keys")
    results = await one_by_one(
        *(("simulate", "--keys-file", f"{tmp_path}/{name}") for name in names)
    )
    for result in results:
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("the keys file ")
        assert result.err.count("\n") == 1
    assert mine.read_text() == "export HTX_ACCESS_KEY=real\n"
    assert not (tmp_path / "target").exists()
    file = tmp_path / "keys"
    async with served(file) as first:
        left = file.read_text()
        first.process.kill()
        await first.process.wait()
    assert file.read_text() == left
    async with served(file) as second:
        assert second.variables["HTX_ACCESS_KEY"] != first.variables["HTX_ACCESS_KEY"]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.write_text(left)
        assert (await stopped(second)).code == 0
    # It was another simulation's by then.
    assert file.read_text() == left
    assert sorted(os.listdir(tmp_path)) == ["dangling", "keys", "link", "mine", "pipe"]


async def test_two_simulations_share_neither_a_port_nor_a_keys_file(tmp_path: Path) -> None:
    """The second on a port, or with the file of one that runs, ends with 2 and leaves that file as
    it is."""
    file = tmp_path / "keys"
    async with served(file) as first:
        before = file.read_text()
        port = str(first.variables["HTX_BASE_URL"]).rpartition(":")[2]
        second = await cli("simulate", "--port", port, "--keys-file", str(file))
        assert (second.code, second.out) == (2, "")
        assert second.err.startswith(f"port {port} cannot be served: ")
        third = await cli("simulate", "--keys-file", str(file))
        assert (third.code, third.out) == (2, "")
        assert "is that of a simulation that runs; nothing was overwritten" in third.err
        assert file.read_text() == before


async def test_nothing_is_ever_told_to_what_is_no_simulation(exchange: SimulatedExchange) -> None:
    """Without a URL, with the exchange's, with a port where nobody listens, with an exchange whose
    control path is not there, and with several: exit 2 in one line."""
    none = {"HTX_BASE_URL": None}
    free = "http://127.0.0.1:1"
    real = Run(("simulate", "move"), {"HTX_BASE_URL": "https://api.hbdm.com"})
    two = Run(("simulate", "move"), {"HTX_BASE_URL": f"{free} {exchange.url}"})
    unnamed, exchanges, nobody, closed, several = await one_by_one(
        Run(("simulate", "status"), none),
        real,
        ("simulate", "status", "--base-url", free),
        ("simulate", "place", "BTC-USDT", "--base-url", exchange.url),
        two,
    )
    assert several.err.startswith("--base-url or HTX_BASE_URL: ")
    for result in (unnamed, exchanges, nobody, closed, several):
        assert (result.code, result.out) == (2, "")
        assert result.err.count("\n") == 1
    assert "HTX_BASE_URL" in unnamed.err
    assert "nothing was sent" in exchanges.err
    assert "Connection refused" in nobody.err
    assert "takes commands" in closed.err
    assert not exchange.open_orders()


@pytest.mark.parametrize("width", [40, 80, 140])
async def test_the_screen_of_a_simulation_on_a_terminal(width: int, tmp_path: Path) -> None:
    """It shows where it is and what is there, and ends with Ctrl-C, exit 0, and a last line."""
    terminal = Terminal(width)
    file = tmp_path / "k"
    try:
        args = ("--contracts", "3", "--faults", "--refill", "--keys-file", str(file))
        process = await terminal.started("-m", "htx_async", "simulate", *args)
        await terminal.shows("simulate status")
        process.send_signal(signal.SIGINT)
        result = await terminal.ended(process)
    finally:
        terminal.close()
    assert result.code == 0
    assert "BTC-USDT, ETH-USDT, XRP-USDT. No others exist." in result.out
    assert "2 a second" in result.out
    assert result.out.splitlines()[-1] == "Stopped after 0 requests; orders still open: 15."
