"""Replies that nobody meant to send: always a verdict, and never a better one than they justify."""

import asyncio
import contextlib
import copy
import gc
import gzip
import itertools
import json
import math
import pickle
import re
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from htx_async import (
    CancelError,
    CancelReport,
    HtxSession,
    MassCancelReport,
    ReadFailed,
    TokenBucket,
    Verdict,
)
from htx_async.codes import CodeClass, classify
from htx_async.exchange import v1, v5
from htx_async.exchange.headers import (
    LONGEST_ASKED,
    LONGEST_PAUSE,
    PERIOD,
    pause_after,
    pause_when_spent,
    told_limit,
)
from htx_async.exchange.messages import Answer, Secret
from htx_async.exchange.operation import Reply
from htx_async.limits.gate import closing
from htx_async.limits.redis_link import Arguments, RedisLink
from htx_async.limits.redis_store import RedisStore
from htx_async.limits.shared_store import Rule, Taken, Unreachable
from htx_async.simulator import SimulatedExchange
from htx_async.simulator.messages import Reply as Sent
from htx_async.simulator.messages import Request
from htx_async.transport.decoding import LARGEST_BODY, decoded
from tests.support.paths import DATA
from tests.support.virtual import SOAK, run, virtual_session

PATH = "/linear-swap-api/v1/swap_track_cancelall"
BTC = "BTC-USDT"
ECHO = "AbCdEf0123456789/signature+"
"""What stands in the request and must not come back in a report."""

LONGEST_TOLD = 303
MOST_SECONDS = 0.5
"""Of the processor, for one reply of the largest size."""


def fuzzed(examples: int) -> settings:
    """So many examples, the same ones each time, or very many and new ones in the long run."""
    return settings(
        max_examples=20_000 if SOAK else examples,
        derandomize=not SOAK,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def _documents() -> list[Any]:
    """Every recorded reply, and a success of each public call."""
    paths = [*DATA.glob("*.reply.json"), *DATA.glob("v[15]/*.json")]
    row = json.loads((DATA / "contract-info.row.json").read_bytes())
    by_flag = [{"algo_id": "1329854623927160832", "success": True}, {"algo_id": "7", "code": 1061}]
    opens = json.loads((DATA / "v5/opens_live.json").read_bytes())
    return [json.loads(path.read_bytes()) for path in sorted(paths)] + [
        {**opens, "data": opens["data"] * 2},
        {"code": 200, "data": [{"algo_id": "8", "code": 1061, "success": True}], "ts": 1},
        {"code": 200, "data": by_flag, "ts": 1737103890390},
        {"status": "ok", "data": [row, {**row, "contract_code": "ETH-USDT"}], "ts": 1737103890390},
        {"status": "ok", "ts": 1737103890390},
    ]


VALID = _documents()
SUCCESSES = [one for one in VALID if one.get("status") == "ok" or one.get("code") == 200]
RAW, TWIN = "\x02", "\x01"
"""They mark text that goes into a document as it is, and a key that is already there."""

TOKENS = (
    *("0", "-0", "-1", "7.0", "200", "200.0", "2e2", "404", "1032", "1051", "1062", "1066", "4002"),
    *("1e3", "1e999999", "-1E-999999", "1e99999999999999999999", "-1e-99999999999999999999"),
    *("9" * 15, "9" * 16, "9" * 64, "9" * 65, "9" * 4300, "9" * 5000, "0." + "3" * 400),
    *("NaN", "Infinity", "-Infinity", "1_0", "01", "True", "[" * 90 + "]" * 90, "[" * 3000),
)
WORDS = (
    *("ok", "error", "maintain", "both", "buy", "close", "long", "active", "trailing_stop"),
    *("200", "0200", "403", "1051", "1062", "api-signature-not-valid", "system-busy", "1,2,,3"),
    *("", " ", "\x00", "\x1b[31m", "\ud800", "\ufeff", "\u202e", "\u0663", "é" * 400, "\x00" * 400),
    *(ECHO, f"..{ECHO}..", ECHO.lower(), "1" * 64, "1" * 65, "1e999", "-", "BTC-USDT", "A\nB"),
)
NAMES = (
    *("status", "code", "data", "successes", "errors", "ts", "err_code", "err-code", "err_msg"),
    *("message", "orders", "order_id", "order_id_str", "algo_id", "success", "error", "id"),
)
PASSED_ON = ("err_msg", "err-msg")
SCALARS = st.one_of(
    st.sampled_from(TOKENS).map(RAW.__add__),
    st.sampled_from(WORDS),
    st.sampled_from([None, True, False]),
    st.integers(),
    st.text(max_size=12),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=6,
)


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Each node below the root, as what holds it and its key there."""
    keys: Any = ()
    if isinstance(document, dict):
        keys = tuple(document)
    elif isinstance(document, list):
        keys = range(min(len(document), 5))
    for key in keys:
        yield document, key
        yield from _places(document[key])


def _retyped(value: Any) -> Any:
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() else value.split(",")
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list):
        return dict(zip(NAMES, value, strict=False))
    return str(value)


def _lengthened(value: Any, times: int) -> Any:
    if isinstance(value, str):
        return ",".join([value] * times)
    return value * times if isinstance(value, list) else [value] * times


def _mutate(draw: Any, holder: Any, key: Any) -> None:
    match draw(st.sampled_from(["replace", "replace", "remove", "twin", "retype", "lengthen"])):
        case "remove":
            del holder[key]
        case "twin" if isinstance(holder, dict):
            holder[f"{TWIN}{key}"] = draw(VALUES)
        case "twin":
            holder.insert(key, holder[key])
        case "retype":
            holder[key] = _retyped(holder[key])
        case "lengthen":
            holder[key] = _lengthened(holder[key], draw(st.sampled_from([2, 3, 50, 300])))
        case _:
            holder[key] = draw(VALUES)


def written(document: Any) -> bytes:
    text = json.dumps(document).replace(r"\u0001", "")
    return re.sub(r'"\\u0002([^"]*)"', r"\1", text).encode()


@st.composite
def mutated(draw: Any) -> bytes:
    """A recorded reply with one to three of its nodes changed."""
    document = copy.deepcopy(draw(st.sampled_from(SUCCESSES) | st.sampled_from(VALID)))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        places = list(_places(document))
        if places:
            _mutate(draw, *places[draw(st.integers(0, len(places) - 1))])
    return written(document)


@st.composite
def spoiled(draw: Any) -> bytes:
    """A recorded reply whose bytes were cut, flipped, wrapped or recoded."""
    body: bytes = written(draw(st.sampled_from(VALID)))
    at = draw(st.integers(0, len(body)))
    some = draw(st.binary(min_size=1, max_size=4))
    flipped = bytes([body[at - 1] ^ some[0]]) if at else b""
    choices: list[bytes] = [
        body[:at],
        body[at:],
        body[: max(0, at - 1)] + flipped + body[at:],
        body[:at] + some + body[at:],
        some + body,
        body + some,
        body + body,
        b"\xef\xbb\xbf" + body,
        body.decode().encode("utf-16"),
        body + b"\x00" * 8,
        b"[" + body + b"]",
        b"/**/" + body,
    ]
    chosen: bytes = draw(st.sampled_from(choices))
    return chosen


BODIES = st.one_of(
    *[mutated() for _ in range(5)], spoiled(), VALUES.map(written), st.binary(max_size=300)
)
STATUSES = st.integers(0, 999).map(lambda status: status if 100 <= status < 600 else 200)

MOMENTS = st.sampled_from(
    [
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wed, 21 Oct 2015 07:28:00",
        "Fri, 31 Dec 9999 23:59:59 -2359",
    ]
)
FIGURES = st.one_of(
    st.sampled_from(
        ["0", "-0", "1", "5", "1000", "5e-324", "1e308", "-1", "nan", "inf", "9" * 400]
    ),
    st.integers(-(10**18), 10**18).map(str),
    st.floats().map(repr),
    MOMENTS,
    st.text(max_size=20),
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        **{f"ratelimit-{name}": FIGURES for name in ("limit", "interval", "remaining", "reset")},
        "retry-after": FIGURES,
        "date": FIGURES,
    },
)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("ambiguous")
    return dict(pairs)


def _never(name: str) -> NoReturn:
    raise ValueError(name)


def document(body: bytes) -> dict[str, Any]:
    """What these bytes say, by other means than the package's; empty unless they are one JSON
    object in plain UTF-8 that can be read in one way only."""
    try:
        text = body.decode()
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_never, parse_float=str)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_ok(said: Mapping[str, Any], generation: object) -> bool:
    """Whether it has the documented form of a success."""
    if generation is v1:
        return said.get("status") == "ok"
    data = said.get("data", "nothing")
    # No rows may come as null, and a single one alone.
    is_list = (
        data is None or isinstance(data, list) or (isinstance(data, dict) and "algo_id" in data)
    )
    return said.get("status") is None and str(said.get("code")) == "200" and is_list


def _told_ids(reader: str, said: Mapping[str, Any]) -> list[str]:
    """The ids that a success says were taken, or that its list has."""
    data = said["data"]
    match reader:
        case "v1.read":
            ids = data["successes"] or []
            each = ids.split(",") if isinstance(ids, str) else map(str, ids)
            return [one.strip() for one in each if one.strip()]
        case "v1.read_orders":
            return [str(row.get("order_id_str", row.get("order_id"))) for row in data["orders"]]
        case "v5.read_orders":
            return [str(row.get("algo_id")) for row in _v5_rows(data) if isinstance(row, dict)]
    rows = _v5_rows(data)
    return [str(row.get("algo_id")) for row in rows if isinstance(row, dict) and _is_taken(row)]


def _v5_rows(data: Any) -> list[Any]:
    """None may stand for no rows, and one row alone."""
    return data if isinstance(data, list) else [] if data is None else [data]


def _is_of_ours(row: Any) -> bool:
    """Whether a row may be a trailing order, by either name of its type."""
    kind = (row.get("type") or row.get("algo_type")) if isinstance(row, dict) else None
    return not isinstance(kind, str) or kind in ("trailing_stop", "trailing")


def _is_taken(row: Mapping[str, Any]) -> bool:
    """By whichever of the code and the flag an item has; where it has both, by both."""
    by_code, by_flag = str(row.get("code", 200)) == "200", row.get("success", True) is True
    return by_code and by_flag and ("code" in row or "success" in row)


READERS: dict[str, tuple[object, Callable[..., Reply]]] = {
    "v1.read": (v1, v1.read),
    "v1.read_orders": (v1, v1.read_orders),
    "v5.read": (v5, v5.read),
    "v5.read_orders": (v5, v5.read_orders),
}


def check_words(reply: Reply, body: bytes) -> None:
    """What is passed on is short, printable, no echo, and stands in the reply."""
    for text in (reply.message, *(error.err_msg for error in reply.errors)):
        assert text.isprintable()
        assert len(text) <= LONGEST_TOLD
    for code in (reply.code, *(error.err_code for error in reply.errors)):
        assert code is None or str(code).encode() in body
        assert len(str(code)) <= 64
    for order_id in (*reply.successes, *(error.order_id for error in reply.errors)):
        assert re.fullmatch("[0-9A-Za-z_-]{1,64}", order_id)
        assert order_id.encode() in body
    assert reply.ts is None or (0 <= reply.ts < 10**15 and str(reply.ts).encode() in body)
    assert ECHO not in repr(reply)


def check_verdict(reader: str, answer: Answer, reply: Reply) -> None:
    """A second opinion on `reply`, by lines of its own."""
    said, generation = document(answer.body), READERS[reader][0]
    check_words(reply, answer.body)
    if reply.verdict is Verdict.ACCEPTED:
        assert answer.status == 200
        assert _is_ok(said, generation)
        rows = () if reply.data is None else reply.data.orders
        ids = [row.order_id for row in rows] or list(reply.successes)
        told = _told_ids(reader, said)
        # No order of a list is left out, but those of V5 of another type, and what is counted as
        # not to be read; no item of a cancel is taken for more than it says.
        assert set(ids) <= set(told) if generation is v5 else ids == told
        if reader == "v5.read_orders":
            ours = [row for row in _v5_rows(said["data"]) if _is_of_ours(row)]
            assert len(ids) + reply.data.unread == len(ours)
        if reader == "v1.read":
            assert len(reply.errors) == len(said["data"]["errors"] or ())
    elif reply.verdict is Verdict.REFUSED:
        assert not reply.successes
        assert not reply.errors
        assert not (answer.status == 200 and _is_ok(said, generation))
        assert answer.status == 429 or (said and answer.status // 100 in (2, 4))
        assert reply.code is not None or answer.status == 429
        assert classify(reply.code) is not CodeClass.AMBIGUOUS
    else:
        assert reply.verdict is Verdict.UNKNOWN


@pytest.mark.slow
@given(status=STATUSES, body=BODIES)
@example(status=200, body=b'{"status":"ok","ts":1e99999999999999999999}')
@example(status=200, body=b'{"code":200,"data":{"status":0,"algo_id":0}}')
@fuzzed(400)
def test_any_reply_gives_a_verdict_that_its_bytes_justify(status: int, body: bytes) -> None:
    """Whatever comes, each reader of private replies tells no more than an independent one."""
    for answer in (Answer(status, {}, body), Answer(200, {}, body)):
        for name, (_, read) in READERS.items():
            check_verdict(name, answer, read(answer, lambda text: text.replace(ECHO, "***")))


def _swept(every: int) -> Iterator[bytes]:
    """Each recorded reply with each of its nodes replaced by each token and word, or by one in
    `every` of them; words that are passed on by each."""
    values = (*map(RAW.__add__, TOKENS), *WORDS)
    different, turn = {json.dumps(one): one for one in VALID}, itertools.count()
    for document in map(copy.deepcopy, different.values()):
        for holder, key in list(_places(document)):
            before = holder[key]
            for value in values:
                if key in PASSED_ON or next(turn) % every == 0:
                    holder[key] = value
                    yield written(document)
            holder[key] = before


def test_each_node_of_each_recorded_reply_may_be_anything() -> None:
    """No single field makes a reader tell more than the bytes do; a part of these, or all."""
    for body in _swept(1 if SOAK else 19):
        answer = Answer(200, {}, body)
        for name, (_, read) in READERS.items():
            check_verdict(name, answer, read(answer, lambda text: text.replace(ECHO, "***")))


@given(status=STATUSES, body=BODIES)
@example(status=200, body=written(VALID[-2]))
@fuzzed(200)
def test_the_public_replies_are_read_or_refused(status: int, body: bytes) -> None:
    """The list of contracts is whole or a `ValueError`, the time is the reply's own or None."""
    answer, said = Answer(status, {}, body), document(body)
    is_ok = status == 200 and said.get("status") == "ok"
    ts = v1.read_time(answer)
    assert ts is None or (is_ok and str(ts).encode() in body)
    try:
        found = v1.read_contracts(answer)
    except ValueError:
        return
    assert is_ok
    assert [one.contract_code for one in found] == [row["contract_code"] for row in said["data"]]


@given(headers=HEADERS, ts=st.none() | st.integers(0, 10**15 - 1))
@example(headers={"ratelimit-limit": "5", "ratelimit-interval": "5e-324"}, ts=None)
@fuzzed(300)
def test_headers_only_ever_slow_down_within_bounds(headers: dict[str, str], ts: int | None) -> None:
    """Whatever the headers say, they ask for an hour at most, an endpoint is closed for 1 to 10 s,
    and a limit that is told can be kept."""
    assert 0 <= pause_after(headers, ts) <= LONGEST_ASKED
    assert PERIOD <= closing(pause_after(headers, ts)) <= LONGEST_PAUSE
    assert 0 <= (pause_when_spent(headers, ts) or 0.0) <= LONGEST_PAUSE
    told = told_limit(headers)
    if told is not None:

        async def main() -> tuple[int, float] | None:
            return TokenBucket().tighten(PATH, *told)

        size, per = run(main()) or (5, 1.0)
        assert 1 <= size <= 5
        assert 1.0 <= per <= 61.0 * size
        assert size / per <= 5.0


@given(
    body=st.one_of(st.binary(max_size=200), BODIES.map(gzip.compress), BODIES.map(zlib.compress)),
    codings=st.lists(st.sampled_from(["gzip", "deflate", "identity", "br", ""]), max_size=3),
    cut=st.integers(0, 3),
)
@fuzzed(150)
def test_a_content_coding_is_undone_completely_or_refused(
    body: bytes, codings: list[str], cut: int
) -> None:
    """What is decoded is what another decoder reads, and never more than the bound."""
    body = body[: len(body) - cut]
    with contextlib.suppress(ValueError, zlib.error):
        found = decoded(body, {"content-encoding": ",".join(codings)})
        assert len(found) <= max(LARGEST_BODY, len(body))
        if [one for one in codings if one not in ("", "identity")] == ["gzip"]:
            # By the two heads that RFC 1950 and 1952 give: either is taken for the other's name.
            plain = gzip.decompress if body[:2] == b"\x1f\x8b" else zlib.decompress
            assert found == plain(body)


class AnyScript(RedisLink):
    """A connection to a Redis that answers anything."""

    def __init__(self, replies: Sequence[Any]) -> None:
        self._replies = itertools.cycle(replies)

    async def run(self, keys: Sequence[str], arguments: Arguments) -> Any:
        return next(self._replies)


FIELDS: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 3),
    st.integers(),
    st.sampled_from([b"0", b"1", b"x", "", b"9" * 400, 10**400, None, math.inf, math.nan, []]),
)


@given(replies=st.lists(st.lists(FIELDS, max_size=5) | FIELDS, min_size=1, max_size=3))
@example(replies=[[0, 0, math.inf]])
@example(replies=[[0, 10**400, 0]])
@fuzzed(150)
def test_any_answer_of_a_script_is_understood_or_counts_as_none(replies: list[Any]) -> None:
    """What Redis sends back is a finite wait, or Redis cannot be reached: never anything else."""

    async def main() -> None:
        link, rule = AnyScript(replies), Rule(5, 1.0)
        settings = {"rules": (rule, rule), "ordinary": 60, "lease": 5.0, "probe": 0.25}
        store = RedisStore(link, "key", PATH, **settings)  # type: ignore[arg-type]  # mixed values
        for _ in range(3):
            with contextlib.suppress(Unreachable):
                taken = await store.take("token", urgent=False)
                assert isinstance(taken, Taken)
                assert math.isfinite(taken.wait)
            with contextlib.suppress(Unreachable):
                await store.join("token", was_away=False, used=0, waiting=())
            with contextlib.suppress(Unreachable):
                await store.settle("token")

    run(main())


class AnyExchange(SimulatedExchange):
    """Answers these replies in turn, over and over, whatever it is asked."""

    def __init__(self, replies: Sequence[Sent]) -> None:
        # What the replies echo is a secret of whoever asks.
        super().__init__(access_key=ECHO)
        self._replies = itertools.cycle(replies)
        self.asked = 0

    def handle(self, request: Request) -> Sent:
        self.asked += 1
        return next(self._replies)


async def _everything_of(htx: HtxSession) -> Any:
    await htx.warm_up()
    return await htx.contracts()


CALLS: dict[str, Callable[[HtxSession], Any]] = {
    "cancel all": lambda htx: htx.cancel_all_trailing(BTC, "buy"),
    "confirmed": lambda htx: htx.cancel_all_trailing(BTC, confirm=True),
    "by ids": lambda htx: htx.cancel_trailing(BTC, ["826052268312821760", "7"]),
    "cross": lambda htx: htx.cross.cancel_all_trailing(pair=BTC, contract_type="quarter"),
    "open": lambda htx: htx.open_trailing(BTC),
    "history": lambda htx: htx.trailing_history(BTC),
    "mass": lambda htx: htx.mass_cancel_trailing([BTC, "ETH-USDT"]),
    "public": _everything_of,
}
REPLIES = st.lists(st.builds(Sent, STATUSES, HEADERS, BODIES), min_size=1, max_size=4)


def check_told(told: Any) -> None:
    """It can be written, read and pickled, in words for a terminal."""
    for text in (str(told), repr(told)):
        assert ECHO not in text
    assert len(str(told)) <= 6000
    if not isinstance(told, tuple):
        assert str(told).replace("\n", "").isprintable()
    copied = pickle.loads(pickle.dumps(told))  # noqa: S301 - our own
    assert (type(copied), str(copied)) == (type(told), str(told))


def _reports(told: Any) -> Sequence[CancelReport]:
    if isinstance(told, MassCancelReport):
        return told.reports
    report = getattr(told, "report", told)
    return [report] if isinstance(report, CancelReport) else []


def check_report(report: CancelReport, replies: Sequence[Sent]) -> None:
    """It can be written as JSON, and is not better than the best of the replies that came."""
    check_told(report)
    assert json.loads(report.model_dump_json())["outcome"] == report.outcome
    bodies = b"".join(reply.body for reply in replies if reply.status == 200)
    for order_id in (*report.successes, *report.triggered):
        assert order_id.encode() in bodies
    if report.is_clear:
        said = [document(reply.body) for reply in replies if reply.status // 100 in (2, 4)]
        assert any(_is_ok(one, v1) or _is_ok(one, v5) or "1051" in str(one) for one in said)


@given(
    call=st.sampled_from(sorted(CALLS)),
    generation=st.sampled_from(["auto", "v1", "v5"]),
    replies=REPLIES,
)
@example(
    call="cancel all", generation="v1", replies=[Sent(200, {}, b'{"ts":1e99999999999999999999}')]
)
@example(
    call="cancel all",
    generation="v1",
    replies=[Sent(404, {"ratelimit-limit": "5", "ratelimit-interval": "5e-324"}, b"")],
)
@fuzzed(150)
def test_a_call_ends_in_its_account_whatever_is_answered(
    call: str, generation: str, replies: list[Sent]
) -> None:
    """Each call ends by its deadline with a report, or with one of the documented exceptions."""

    async def main() -> None:
        exchange, loop = AnyExchange(replies), asyncio.get_running_loop()
        # An account of its own: what replies asked of the limiter would outlive the session.
        settings: dict[str, Any] = {"generation": generation, "account": uuid.uuid4().hex}
        async with virtual_session(exchange, **settings) as htx:
            try:
                told = await CALLS[call](htx)
            except (CancelError, ReadFailed) as error:
                told = error
            check_told(told)
            for report in _reports(told):
                check_report(report, replies)
            assert loop.time() < 25.0
            assert exchange.asked < 1000

    run(main())


def _large() -> dict[str, bytes]:
    """Replies of the largest size that is read, each the worst that one part of reading can get."""
    size = LARGEST_BODY

    def ok(successes: str, errors: str = "[]") -> bytes:
        start = f'{{"status":"ok","data":{{"errors":{errors},"successes":'
        return f"{start}{successes}}}}}".encode()

    def error(words: str) -> bytes:
        return f'{{"status":"error","err_code":1030,"err_msg":"{words}"}}'.encode()

    half = ECHO[: len(ECHO) // 2]
    refused = '{"order_id":"a","err_code":1061,"err_msg":""},' * (size // 50)
    row = json.dumps(json.loads((DATA / "v5/opens_live.json").read_bytes())["data"][0])
    rows = ",".join([row] * (size // len(row) - 1))
    return {
        "lists": b"[" * size,
        "objects": b'{"a":' * (size // 5),
        "digits": b'{"ts":' + b"9" * size,
        "fraction": b'{"ts":0.' + b"9" * size + b"}",
        "numbers": b'{"ts":[' + b",".join([b"9" * 4300] * 60) + b"]}",
        "keys": ("{" + ",".join(f'"{n}":0' for n in range(size // 12)) + "}").encode(),
        "ids": ok('"' + "7," * (size // 2 - 60) + '7"'),
        "words": ok('"' + "a," * (size // 2 - 60) + '"'),
        "errors": ok('""', f"[{refused[:-1]}]"),
        "escapes": error("\\u0000" * (size // 6 - 20)),
        "echoes": error(ECHO * (size // len(ECHO) - 3)),
        "near echoes": error((half + "%25" * 50) * (size // 180)),
        "percents": error("%25" * (size // 3 - 30)),
        "rows": f'{{"code":200,"data":[{rows}]}}'.encode(),
    }


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in _large().items()])
def test_the_largest_replies_are_read_in_bounded_time(body: bytes) -> None:
    """A reply of 256 KiB that is made to be slow keeps the loop for a moment only."""
    assert len(body) <= LARGEST_BODY + 10
    scrub = Secret(ECHO).scrub
    for name, (_, read) in READERS.items():
        answer = Answer(200, {}, body)
        assert _seconds(read, answer, scrub) < MOST_SECONDS, name
        check_verdict(name, answer, read(answer, scrub))


def _seconds(read: Callable[..., object], answer: Answer, scrub: Callable[[str], str]) -> float:
    # What earlier tests left to be collected is not part of reading.
    gc.disable()
    try:
        began = time.process_time()
        read(answer, scrub)
        return time.process_time() - began
    finally:
        gc.enable()
