"""Checks of what users hand in."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import HtxSession, InvalidRequest, RetryPolicy, TokenBucket
from htx_async.arguments import as_count, as_instance, as_seconds, check_flags, each_of, shown
from htx_async.audit import AuditLog
from htx_async.cross import CrossMargin
from htx_async.doctor import examine
from htx_async.redis_limits import RedisTokenBucket
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session


class Wordless:
    """Cannot even be shown."""

    def __repr__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("value", [1, 0.001, 3.0, 86_400])
def test_seconds_are_positive_finite_numbers(value: float) -> None:
    """Whole numbers and fractions, as a float."""
    assert as_seconds("wait", value) == value
    assert isinstance(as_seconds("wait", value), float)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, float("nan"), float("inf"), "1", None, True, [1]),
        *(10**400, -(10**400), 10**5000, Wordless()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_no_time(value: Any) -> None:
    """The error names the argument and what was given."""
    with pytest.raises(InvalidRequest, match="wait must be") as caught:
        as_seconds("wait", value)
    assert len(str(caught.value)) < 160
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("value", "fits"), [(0, True), (0.0, True), (2, True), (-0.1, False)])
def test_seconds_with_a_least_value(value: float, fits: bool) -> None:
    """With `least`, that value itself is taken."""
    if fits:
        assert as_seconds("pause", value, least=0) == value
    else:
        with pytest.raises(InvalidRequest, match="from 0 up"):
            as_seconds("pause", value, least=0)


@pytest.mark.parametrize(
    "value",
    [0, -3, 1.0, "2", None, True, 10**400, 10**5000],
    ids=lambda value: type(value).__name__,
)
def test_counts_are_whole_numbers_from_one_up(value: Any) -> None:
    """One and more pass as they are; nothing is rounded."""
    assert as_count("size", 5) == 5
    with pytest.raises(InvalidRequest, match="size must be a whole number"):
        as_count("size", value)


def test_instances_are_of_the_kind_that_is_named() -> None:
    """The error names both kinds, never the value, which may be a key."""
    as_instance("name", "text", str)
    with pytest.raises(InvalidRequest, match="name must be str, not int") as caught:
        as_instance("name", 4711, str)
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize("value", ["no", "", "False", 0, 1, None, 1.0, []])
def test_flags_are_true_or_false(value: Any) -> None:
    """Nothing else is taken for either: "no" would be true."""
    check_flags(confirm=True, urgent=False)
    with pytest.raises(InvalidRequest, match="urgent must be True or False, not"):
        check_flags(confirm=True, urgent=value)


NO_TIMES = st.one_of(
    st.integers(min_value=2**1024).map(lambda n: n * 10 ** (n % 7)),
    st.integers(max_value=-(2**1024)),
    st.sampled_from([10**400, 10**5000, 0, True, None, "10", b"1", 1j, [1], float("nan")]),
    st.floats(max_value=0.0),
    st.just(float("inf")),
)
BTC = "BTC-USDT"

CALLS: dict[str, Callable[[HtxSession, Any], Awaitable[object]]] = {
    "cancel_all_trailing": lambda htx, t: htx.cancel_all_trailing(BTC, deadline=t),
    "cancel_trailing": lambda htx, t: htx.cancel_trailing(BTC, ["1"], deadline=t),
    "mass_cancel_trailing": lambda htx, t: htx.mass_cancel_trailing([BTC], deadline=t),
    "open_trailing": lambda htx, t: htx.open_trailing(BTC, deadline=t),
    "trailing_history": lambda htx, t: htx.trailing_history(BTC, deadline=t),
    "cross": lambda htx, t: htx.cross.cancel_all_trailing(BTC, deadline=t),
}


@given(value=NO_TIMES, name=st.sampled_from(sorted(CALLS)))
def test_no_call_is_queued_for_what_is_no_time(value: Any, name: str) -> None:
    """Integers beyond every float among them, in every call that takes a deadline."""
    if value is None:
        # The default of them all.
        return

    async def main() -> None:
        exchange, heard = SimulatedExchange(), list[object]()
        async with virtual_session(exchange, on_event=heard.append) as htx:
            with pytest.raises(InvalidRequest, match="deadline must be a positive, finite number"):
                await CALLS[name](htx, value)
            with pytest.raises(InvalidRequest, match="deadline must be"):
                htx.cancel_on_exit([BTC], deadline=value)
        assert (exchange.arrivals, heard) == ((), [])

    run(main())


FLAGS = [
    (kind, method, name)
    for kind in (HtxSession, CrossMargin)
    for method, function in inspect.getmembers(kind, inspect.isfunction)
    if not method.startswith("_")
    for name, parameter in inspect.signature(function).parameters.items()
    if isinstance(parameter.default, bool)
]
"""Every switch of every public call, by its default."""

NEEDED: dict[str, Any] = {"contract_code": BTC, "contract_codes": [BTC], "order_ids": ["1"]}


@pytest.mark.parametrize(("kind", "method", "flag"), FLAGS)
def test_no_call_is_queued_for_a_flag_that_is_none(kind: type, method: str, flag: str) -> None:
    """The word "no" is refused by each switch of each call, before anything happens."""

    async def main() -> None:
        exchange, heard = SimulatedExchange(), list[object]()
        async with virtual_session(exchange, on_event=heard.append) as htx:
            call = getattr(htx if kind is HtxSession else htx.cross, method)
            needed = inspect.signature(call).parameters.keys() & NEEDED.keys()
            given = {name: NEEDED[name] for name in needed} | {flag: "no"}
            with pytest.raises(InvalidRequest, match=f"{flag} must be True or False, not 'no'"):
                await call(**given)
        assert (exchange.arrivals, heard) == ((), [])

    run(main())


def test_every_switch_of_a_call_is_tried() -> None:
    """The list above is not short by mistake."""
    tried = {(method, flag) for kind, method, flag in FLAGS if kind is HtxSession}
    assert {flag for _, flag in tried} == {"urgent", "confirm", "until_clear"}
    assert tried == {(method, flag) for kind, method, flag in FLAGS if kind is CrossMargin}


def test_no_setting_takes_a_flag_that_is_none() -> None:
    """Nor does a session, nor a policy."""
    with pytest.raises(InvalidRequest, match="keep_warm must be True or False, not 'no'"):
        virtual_session(SimulatedExchange(), keep_warm="no")
    wrong: Any = "no"
    with pytest.raises(InvalidRequest, match="repeat_unknown must be True or False, not 'no'"):
        RetryPolicy(repeat_unknown=wrong)


@given(value=NO_TIMES)
def test_no_setting_takes_what_is_no_time(value: Any) -> None:
    """Sessions, policies and limiters refuse it when they are made."""
    makers: tuple[Callable[[Any], object], ...] = (
        lambda t: virtual_session(SimulatedExchange(), deadline=t),
        lambda t: virtual_session(SimulatedExchange(), attempt_timeout=t),
        lambda t: RetryPolicy(base=t),
        lambda t: RetryPolicy(cap=t),
        lambda t: TokenBucket(per=t),
        lambda t: RedisTokenBucket.from_url("redis://127.0.0.1:1", "desk", share_of=2, lease=t),
        lambda t: asyncio.run(examine(["http://127.0.0.1:1"], timeout=t)),
    )
    for make in makers:
        with pytest.raises(InvalidRequest):
            make(value)


@pytest.mark.parametrize("value", [10**400, 1e308, float("inf")])
def test_a_log_is_closed_however_long_one_would_wait(tmp_path: Path, value: float) -> None:
    """More time than a thread may be waited for is as good as for ever."""
    AuditLog(tmp_path / "one").close(value)

    async def main() -> None:
        await AuditLog(tmp_path / "two").aclose(value)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a\x1b[2J\n", r"'a\x1b[2J\n'"),
        (7, "7"),
        (10**5000, "a int that cannot be shown"),
        (Wordless(), "a Wordless that cannot be shown"),
        ("x" * 500, f"'{'x' * 63}..."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_an_error_shows_is_one_short_line(value: object, told: str) -> None:
    """Whatever it is: nothing raw, and nothing long."""
    assert shown(value) == told


def in_words(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidRequest("it must be a word")
    return value.upper()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("one", "short_words must be a sequence of short words, not str, say"),
        (7, "short_words must be a sequence of short words, not int, say"),
        ([], "short_words is empty; an empty list never means all of them"),
        (["one", 2, 3], "short_words[1], 2, short_words[2], 3: it must be a word"),
    ],
    ids=["string", "number", "none", "wrong"],
)
def test_each_of_many_is_checked_and_what_is_wrong_is_told_together(
    values: object, told: str
) -> None:
    """A string is none of many, and none is not all."""
    assert each_of("short_words", iter(["a", "b"]), "of them", ", say", in_words) == ["A", "B"]
    with pytest.raises(InvalidRequest) as caught:
        each_of("short_words", values, "of them", ", say", in_words)
    assert str(caught.value) == told
    assert caught.value.__context__ is None
