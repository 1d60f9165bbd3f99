"""Whole calls on V5, or on v1 with V5 as second opinion, while V5 fails: no better than known."""

import pytest

from htx_async import Outcome, Verdict
from htx_async.simulator import SimulatedExchange
from tests.support.fault_server import Connection, FaultServer, Script, as_json, reply
from tests.support.faulty_calls import BTC, ended, tireless
from tests.support.instant import run

NOTHING = as_json({"status": "error", "err_code": 1051, "err_msg": "No orders.", "ts": 1})
MOVED = as_json({"status": "error", "err_code": 4002, "err_msg": "Moved."})

V5_FAULTS = {
    "silence": b"",
    "HTML": reply(b"<html>"),
    "half": as_json({"code": 200, "data": []})[:-2],
    "an empty list of no known shape": as_json({"status": "ok", "data": []}),
    "503": reply(b"", 503),
}


def behind_v1(told: bytes, *v1: bytes) -> Script:
    """V5's part answers `told`, where b"" is silence; v1's gives `v1` in turn, b"" is a reset, and
    the last again and again."""
    asked: list[str] = []

    async def script(connection: Connection) -> None:
        while True:
            request = await connection.request()
            if "/v5/" in request.target:
                if told:
                    await connection.send(told)
                    continue
                return
            asked.append(request.target)
            answer = v1[min(len(asked), len(v1)) - 1]
            if not answer:
                connection.reset()
                return
            await connection.send(answer)

    return script


@pytest.mark.parametrize("fault", V5_FAULTS)
def test_a_list_on_v5_that_cannot_be_read(fault: str) -> None:
    """Nothing but reads was sent: not sent, within the deadline."""

    async def main() -> None:
        script = behind_v1(V5_FAULTS[fault], MOVED)
        async with FaultServer(script) as server, tireless(server.url, generation="v5") as htx:
            report, _ = await ended(htx)
        assert report.outcome is Outcome.NOT_SENT
        assert report.attempts == ()
        assert {read.verdict for read in report.reads} == {Verdict.UNKNOWN}

    run(main())


@pytest.mark.parametrize("fault", V5_FAULTS)
def test_nothing_to_cancel_that_v5_does_not_bear_out(fault: str) -> None:
    """v1's word alone proves nothing: unknown, and the time that V5 was asked in is told."""

    async def main() -> None:
        script = behind_v1(V5_FAULTS[fault], NOTHING)
        async with FaultServer(script) as server, tireless(server.url, generation="auto") as htx:
            report, _ = await ended(htx)
        assert report.outcome is Outcome.UNKNOWN
        assert len(report.attempts) == 1

    run(main())


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize("fault", V5_FAULTS)
def test_an_account_that_has_moved_to_a_v5_that_fails(fault: str, is_lost: bool) -> None:
    """Refused by v1, and nothing else was sent: refused. After a lost answer of v1: unknown."""

    async def main() -> None:
        script = behind_v1(V5_FAULTS[fault], *([b""] if is_lost else []), MOVED)
        async with FaultServer(script) as server, tireless(server.url, generation="auto") as htx:
            report, _ = await ended(htx)
        verdicts = [attempt.verdict for attempt in report.attempts]
        assert verdicts == [Verdict.UNKNOWN] * is_lost + [Verdict.REFUSED]
        assert report.outcome is (Outcome.UNKNOWN if is_lost else Outcome.REFUSED)

    run(main())


def test_a_lost_answer_of_v1_is_not_forgotten_on_v5() -> None:
    """v1 cancelled and the answer was lost, then the account moved: V5 has nothing left, which is
    clear after a retry, not "nothing to cancel", for this call took the orders."""

    async def main() -> None:
        async with SimulatedExchange(v1_variant="6002") as exchange:
            exchange.place(BTC, "buy", "close", 3)
            exchange.lose_after_work()
            exchange.move(0.04)
            keys = exchange.credentials
            async with tireless(exchange.url, credentials=keys, generation="auto") as htx:
                report, _ = await ended(htx)
            assert exchange.open_orders() == ()
        assert report.outcome is Outcome.CLEAR_AFTER_RETRY
        assert not report.ids_complete

    run(main())
