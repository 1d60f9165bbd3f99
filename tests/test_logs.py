"""Events as records of `logging`: what is said, how loudly, and that nothing else comes of it."""

import asyncio
import io
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from htx_async import (
    ApiGeneration,
    CancelError,
    Direction,
    InvalidRequest,
    LimiterMode,
    MarginMode,
    Offset,
    RetryPolicy,
    logs,
)
from htx_async.aio import listeners
from htx_async.events import (
    CallStarted,
    EndpointPaused,
    Event,
    GenerationChanged,
    LimitChanged,
    LimiterModeChanged,
    LookEnded,
    TokenGranted,
)
from htx_async.logs import to_logging
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session

BTC = "BTC-USDT"
PATH = "/linear-swap-api/v1/swap_track_cancelall"
ACCESS_KEY = "canary-ACCESS-7f3a91"
SECRET_KEY = "canary-SECRET-0c55be"

Told = list[tuple[str, str]]


def told(caplog: pytest.LogCaptureFixture) -> Told:
    return [(one.levelname, one.getMessage()) for one in caplog.records]


def cancelled(
    caplog: pytest.LogCaptureFixture,
    arm: Callable[[SimulatedExchange], object],
    code: str = BTC,
    **settings: Any,
) -> Told:
    """What is logged of one call of an exchange that was armed."""
    caplog.set_level(logging.DEBUG, "htx_async")

    async def main() -> None:
        exchange = SimulatedExchange(access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        arm(exchange)
        given = {"on_event": to_logging(), "generation": "v1", "account": code, **settings}
        async with virtual_session(exchange, **given) as htx:
            with suppress(CancelError):
                await htx.cancel_all_trailing(code)

    run(main())
    return told(caplog)


def louder(lines: Told) -> Told:
    return [line for line in lines if line[0] != "DEBUG"]


def test_a_cancel_is_one_line_for_people_and_each_step_one_to_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its report at INFO; its beginning, token and attempt at DEBUG, all with the call's number."""
    lines = cancelled(caplog, lambda exchange: exchange.place(BTC, "buy", "close", 2))
    assert [level for level, _ in lines] == ["DEBUG", "DEBUG", "DEBUG", "INFO"]
    call = lines[0][1].partition(":")[0]
    assert all(text.startswith(f"{call}: ") for _, text in lines)
    assert lines[0][1] == f"{call}: BTC-USDT"
    assert " was taken: " in lines[2][1]
    assert "2 orders" in lines[3][1]


@pytest.mark.parametrize("generation", ["v1", "auto"])
def test_nothing_to_cancel_is_nothing_to_read(
    generation: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A flat account is quiet, though V5 be asked about it and say that it is not there."""
    lines = cancelled(caplog, lambda exchange: None, generation=generation)
    assert not louder(lines)
    assert any("code 6001" in text for _, text in lines) is (generation == "auto")


def test_the_word_that_ends_a_call_is_loud(caplog: pytest.LogCaptureFixture) -> None:
    """An account that is not on V5, of which the caller said that it is: an error."""
    (ended,) = louder(cancelled(caplog, lambda exchange: None, generation="v5"))
    assert ended[0] == "ERROR"
    assert "6001" in ended[1]


def test_a_lost_attempt_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """That it may have been carried out, and where; and then how the call ended."""

    def arm(exchange: SimulatedExchange) -> None:
        exchange.place(BTC, "buy", "close")
        exchange.lose_before_work()

    lost, ended = louder(cancelled(caplog, arm))
    assert lost[0] == "WARNING"
    assert "attempt 1 for BTC-USDT was lost, and may have been carried out: http" in lost[1]
    assert ended[0] == "INFO"


def test_a_call_that_is_not_clear_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """With the words of its report, and behind it the refusal."""
    refused, ended = louder(cancelled(caplog, lambda exchange: exchange.refuse(1014)))
    assert refused[0] == "WARNING"
    assert " was refused: " in refused[1]
    assert "code 1014" in refused[1]
    assert ended[0] == "ERROR"
    assert BTC in ended[1]


def test_a_refusal_for_the_rate_is_told_with_its_pause(caplog: pytest.LogCaptureFixture) -> None:
    """What is paused, and for how long."""
    lines = cancelled(caplog, lambda exchange: exchange.too_many(retry_after="2"), "PAUSED-USDT")
    assert ("WARNING", f"{PATH}: nothing is sent for 2.0 s, as a reply asks") in lines


EVENTS: list[tuple[Event, str, str]] = [
    (
        CallStarted(1.0, 7, BTC, True, Direction.SELL, Offset.CLOSE),
        "DEBUG",
        "call 7: BTC-USDT sell close, urgent",
    ),
    (
        TokenGranted(1.0, 7, BTC, "https://api.hbdm.com", 0.2),
        "DEBUG",
        "call 7: BTC-USDT: a token after 0.20 s, for https://api.hbdm.com",
    ),
    (
        EndpointPaused(1.0, PATH, 0.4),
        "DEBUG",
        f"{PATH}: nothing is sent for 0.4 s, as a reply asks",
    ),
    (
        LimitChanged(1.0, PATH, 2, 1.0),
        "WARNING",
        f"{PATH}: the limit is 2 requests in any 1 s from now on",
    ),
    (
        LimitChanged(1.0, PATH, 5, 1.0),
        "INFO",
        f"{PATH}: the limit is 5 requests in any 1 s from now on",
    ),
    (
        LimiterModeChanged(1.0, PATH, LimiterMode.OWN_SHARE, "Redis is gone"),
        "WARNING",
        f"{PATH}: on this process's own share of the limit: Redis is gone",
    ),
    (
        LimiterModeChanged(1.0, PATH, LimiterMode.SHARED, "Redis is back"),
        "INFO",
        f"{PATH}: on shared tokens again: Redis is back",
    ),
    (
        LookEnded(1.0, 7, MarginMode.CROSS, 9, 3, 6),
        "DEBUG",
        "call 7: its look found 6 orders on 3 contracts in cross margin",
    ),
    (
        GenerationChanged(1.0, ApiGeneration.V5, "v1 said 6023"),
        "WARNING",
        "the account is on v5: v1 said 6023",
    ),
]


@pytest.mark.parametrize(("event", "level", "text"), EVENTS)
def test_each_event_in_words(
    event: Event, level: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With its level, and the event itself beside it for who reads records by program."""
    caplog.set_level(logging.DEBUG, "orders")
    to_logging("orders")(event)
    assert told(caplog) == [(level, text)]
    (record,) = caplog.records
    assert (record.name, vars(record)["htx_event"]) == ("orders", event)


def test_a_contract_s_name_ends_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """Names come from the exchange's list: no line end, no escape gets through."""
    caplog.set_level(logging.DEBUG, "htx_async")
    to_logging()(CallStarted(1.0, 7, "A\nERROR forged\x1b[2J\u2028-USDT", False))
    assert told(caplog) == [("DEBUG", "call 7: A?ERROR forged?[2J?-USDT")]


def test_what_nobody_wants_is_not_put_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the logger's level an event costs a look at it."""
    monkeypatch.setattr(logs, "_words", None)
    logger = logging.getLogger("quiet")
    logger.setLevel(logging.WARNING)
    to_logging(logger)(EVENTS[0][0])


@pytest.mark.parametrize("wrong", [None, print, 7])
def test_what_is_no_logger_is_refused(wrong: Any) -> None:
    """Before any session has it."""
    with pytest.raises(InvalidRequest, match="logger must be a logger or its name"):
        to_logging(wrong)


def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Keys that the exchange echoes, whole queries: in no line, and in no event beside one."""

    def arm(exchange: SimulatedExchange) -> None:
        exchange.malform(b"<html>" + ACCESS_KEY.encode(), status=500)
        exchange.refuse(403, f"bad key {ACCESS_KEY}")

    cancelled(caplog, arm, "SECRET-USDT", retry=RetryPolicy(attempts=3))
    text = "".join(f"{one.getMessage()}{vars(one)['htx_event']}" for one in caplog.records)
    assert "ERROR" in {level for level, _ in told(caplog)}
    for secret in (ACCESS_KEY, SECRET_KEY, "Signature", "AccessKeyId"):
        assert secret not in text


class Failing(logging.Handler):
    """An application's own, which has no patience with records."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.calls = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), GeneratorExit()])
def test_a_handler_that_raises_changes_no_call(error: BaseException) -> None:
    """Neither here nor where its failure would be told, which it is asked to tell itself."""
    logger, handler = logging.getLogger("htx_async"), Failing(error)
    reports = []

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close", 2)
        exchange.lose_after_work()
        settings: dict[str, Any] = {"on_event": to_logging(), "generation": "v1"}
        async with virtual_session(exchange, **settings) as htx:
            reports.append(await htx.cancel_all_trailing(BTC))
            async with htx.cancel_on_exit([BTC]):
                exchange.place(BTC, "sell", "close")
        assert not exchange.open_orders()

    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        run(main())
        listeners.warn("%s", "itself")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert reports[0].is_clear
    assert handler.calls > 8


def test_a_listener_outlives_its_loop_and_a_closed_stream() -> None:
    """Sessions of one loop after another share it; a stream that is gone is `logging`'s affair."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("several loops")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    listener = to_logging(logger)

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close")
        async with virtual_session(exchange, on_event=listener, generation="v1") as htx:
            assert (await htx.cancel_all_trailing(BTC)).is_clear

    run(main())
    run(main())
    assert stream.getvalue().count("\n") == 2
    stream.close()
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        run(main())
    finally:
        logging.raiseExceptions = before
        logger.removeHandler(handler)
