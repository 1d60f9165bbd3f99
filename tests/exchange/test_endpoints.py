"""The table of endpoints: what stands in it, who reads it, and a row added while it runs."""

import ast
import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import htx_async
from htx_async import (
    CancelError,
    CancelReport,
    HtxSession,
    InvalidRequest,
    Outcome,
    TokenBucket,
    Verdict,
)
from htx_async.cancel.ledger import Intent
from htx_async.doctor import examine
from htx_async.enums import ApiGeneration, MarginMode
from htx_async.events import CallStarted, Event
from htx_async.exchange.endpoints import (
    BUDGETS,
    CANCEL,
    CANCEL_ALL,
    ENDPOINTS,
    OPEN_ORDERS,
    READS,
    TIMESTAMP,
    TRAILING,
    V5_CANCEL,
    Endpoint,
    Kind,
    Limit,
    Permission,
    add,
    at,
    limit_of,
    periods,
)
from htx_async.filters import OrderFilter
from htx_async.limits.account_limiter import AccountLimiter, public_budget
from htx_async.limits.limiter import as_limiter
from htx_async.redis_limits import RedisTokenBucket
from htx_async.simulator import SimulatedExchange
from tests.support.fault_server import bounded
from tests.support.figures import FIVE, SHIPPED, SHIPPED_BUDGETS
from tests.support.paths import DATA
from tests.support.tokens import busiest, now
from tests.support.virtual import run, virtual_session

PACKAGE = Path(htx_async.__file__).parent
PATH = CANCEL_ALL.path()

V1, V5 = ApiGeneration.V1, ApiGeneration.V5
TRADE, READ, NONE = Permission

ROWS = {
    "cancelall": ("POST swap_track_cancelall swap_cross_track_cancelall", TRADE, FIVE, 0),
    "cancel": ("POST swap_track_cancel swap_cross_track_cancel", TRADE, FIVE, 10),
    "openorders": ("POST swap_track_openorders swap_cross_track_openorders", READ, None, 0),
    "hisorders": ("POST swap_track_hisorders swap_cross_track_hisorders", READ, None, 0),
    "contract_info": ("GET swap_contract_info", NONE, None, 0),
    "timestamp": ("GET /api/v1/timestamp", NONE, None, 0),
    "v5_cancel": ("POST /v5/algo/cancel_orders", TRADE, None, 10),
    "v5_opens": ("GET /v5/algo/order/opens", READ, None, 0),
    "v5_history": ("GET /v5/algo/order/history", READ, None, 0),
    "v5_order": ("GET /v5/algo/order", READ, None, 0),
    "v5_asset_mode": ("GET /v5/account/asset_mode", READ, None, 0),
    "v5_position_mode": ("GET /v5/position/mode", READ, None, 0),
}
"""As HTX's pages and, for V5, the projects named in the module have them."""


def test_the_table_says_what_is_documented() -> None:
    """Paths, method, permission, limit and ids of each call, written out once more by hand."""
    assert SHIPPED.keys() == ROWS.keys()
    for name, (request, permission, limit, most_ids) in ROWS.items():
        row, (method, *paths) = SHIPPED[name], request.split()
        whole = [path if path[0] == "/" else f"/linear-swap-api/v1/{path}" for path in paths]
        assert (row.name, row.method, [*row.paths]) == (name, method, whole)
        assert (row.permission, row.limit, row.most_ids) == (permission, limit, most_ids)
        assert row.generation is (V5 if name.startswith("v5") else V1)
        assert (row.kind is Kind.CANCEL) == (permission is TRADE)
        assert row.source
        assert row.also == (("/v5/algo/cancel-orders",) if name == "v5_cancel" else ())
    assert {TRADE: Limit(72, 3.0), READ: Limit(72, 3.0), NONE: Limit(240, 3.0)} == SHIPPED_BUDGETS


def test_a_row_names_the_path_of_each_margin_mode() -> None:
    """A call without a twin has one path for both."""
    assert CANCEL.path(MarginMode.CROSS).endswith("/swap_cross_track_cancel")
    assert CANCEL.path() == CANCEL.path(MarginMode.ISOLATED) == CANCEL.paths[0]
    assert V5_CANCEL.path() == V5_CANCEL.path(MarginMode.CROSS)
    assert at(CANCEL.path(MarginMode.CROSS)) is ENDPOINTS["cancel"]
    assert at("/nowhere") is None


@pytest.mark.parametrize(
    "row",
    [
        CANCEL_ALL,
        CANCEL_ALL._replace(name="another"),
        CANCEL_ALL._replace(paths=("/another/path",)),
        V5_CANCEL._replace(name="another", paths=("/another/path", CANCEL.path())),
        V5_CANCEL._replace(name="another", paths=("/another/path",)),
    ],
)
def test_a_row_takes_no_other_s_name_or_path(row: Endpoint) -> None:
    """Else two calls would share a limit, or an answer, unnoticed."""
    before = dict(ENDPOINTS)
    with pytest.raises(ValueError, match="already"):
        add(row)
    assert before == ENDPOINTS


def test_a_row_that_is_new_stands_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its name, and is found by any of its paths; who adds it has it at hand."""
    table: dict[str, Endpoint] = {}
    monkeypatch.setattr("htx_async.exchange.endpoints.ENDPOINTS", table)
    assert add(V5_CANCEL) is table[V5_CANCEL.name] is V5_CANCEL
    assert [at(path) for path in V5_CANCEL.every_path] == [V5_CANCEL, V5_CANCEL]


def test_a_limit_takes_what_a_caller_names_in_the_place_of_its_own() -> None:
    """Either figure or both; 0 is a figure, for a limiter to refuse."""
    limit = Limit(5, 1.0)
    assert limit.but(None, None) == limit
    assert (limit.but(3, None), limit.but(None, 2.0)) == (Limit(3, 1.0), Limit(5, 2.0))
    assert limit.but(0, 0.0) == Limit(0, 0.0)


def test_what_is_not_known_of_an_endpoint_is_taken_from_the_trailing_ones() -> None:
    """V5's cancel, and a path that has no row; the reads have their budget."""
    assert limit_of(PATH) == ENDPOINTS["cancelall"].limit
    assert limit_of(V5_CANCEL.path()) == limit_of("/nowhere") == TRAILING
    assert limit_of(READS) == BUDGETS[READ]


# --- one edit ------------------------------------------------------------------------------------


LIMITS = pytest.mark.parametrize("limit", [Limit(2, 1.0), Limit(9, 1.0), Limit(3, 2.0)], ids=str)


def change(monkeypatch: pytest.MonkeyPatch, row: Endpoint, limit: Limit) -> None:
    """What editing one row does."""
    monkeypatch.setitem(ENDPOINTS, row.name, row._replace(limit=limit))


async def granted(limiter: Any, path: str, count: int) -> list[float]:
    async def use() -> float:
        async with limiter.take(path):
            return now()

    return await asyncio.gather(*(use() for _ in range(count)))


@LIMITS
@pytest.mark.parametrize("make", [TokenBucket, AccountLimiter])
def test_a_bucket_without_a_size_keeps_what_the_table_says(
    make: Callable[[], TokenBucket], limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the endpoint whose row was changed, and at no other; what is foreseen agrees."""
    before = limit_of(CANCEL.path())
    change(monkeypatch, CANCEL_ALL, limit)

    async def main() -> None:
        bucket = make()
        assert bucket.limit(CANCEL.path()) == before
        foreseen = bucket.foresee(PATH, 3 * limit.size)
        moments = await granted(bucket, PATH, 3 * limit.size)
        assert busiest(moments, limit.per) == limit.size
        assert moments[-1] == pytest.approx(2 * limit.per, abs=0.01)
        assert moments[-1] == pytest.approx(foreseen, abs=0.01)
        others = await granted(bucket, CANCEL.path(), before.size)
        assert max(others) - min(others) < 0.01

    run(main())


@LIMITS
def test_a_size_that_a_caller_names_holds_as_named(
    limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the table says; a size alone is for one second, a period alone for each size."""
    change(monkeypatch, CANCEL_ALL, limit)
    assert TokenBucket(4).limit(PATH) == Limit(4, 1.0)
    assert TokenBucket(4, 2.5).limit(PATH) == Limit(4, 2.5)
    assert TokenBucket(per=2.5).limit(PATH) == Limit(limit.size, 2.5)
    assert TokenBucket(4, 1.0).per == TokenBucket(4).per == 1.0
    exchange = SimulatedExchange(limit=4)
    assert [told_by(exchange) for _ in range(5)] == [(4, 1000, n) for n in (3, 2, 1, 0, 0)]


def test_a_round_trip_floor_is_below_every_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of any endpoint is held for a while."""
    change(monkeypatch, CANCEL, Limit(1, 0.5))
    assert sorted(periods()) == sorted({0.5, TRAILING.per})
    with pytest.raises(htx_async.InvalidRequest, match=r"shorter than per \(0.5 s\)"):
        TokenBucket(round_trip_floor=0.5)
    assert TokenBucket(1, 1.0, round_trip_floor=0.5).round_trip_floor == 0.5


def told_by(exchange: SimulatedExchange, row: Endpoint = CANCEL_ALL) -> tuple[int, int, int]:
    """Limit, milliseconds and what is left, as the headers of a reply name them."""
    request = htx_async.simulator.Request(row.method, row.path(), {"Host": "localhost"}, b"{}")
    headers = exchange.handle(request).headers
    size, per, left = (headers[f"ratelimit-{name}"] for name in ("limit", "interval", "remaining"))
    return int(size), int(per), int(left)


@LIMITS
def test_session_simulator_and_plan_follow_the_table(
    limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange refuses one more than the row says; a mass cancel meets that limit to the full
    and never once beyond, within the seconds that its plan named."""
    change(monkeypatch, CANCEL_ALL, limit)
    codes = [f"C{number}-USDT" for number in range(3 * limit.size)]

    async def main() -> None:
        exchange = SimulatedExchange(clock=now, contracts=codes)
        async with virtual_session(exchange, lambda: 0.001) as htx:
            plan = htx.plan(codes, look="none")
            report = await htx.mass_cancel_trailing(codes, look="none")
        assert report.is_clear
        assert exchange.busiest(limit.per) == limit.size
        assert all(arrival.err_code == 1051 for arrival in exchange.arrivals)
        assert plan.least_seconds == pytest.approx(2 * limit.per, abs=0.02)
        assert plan.least_seconds <= now() < plan.least_seconds + 0.1
        assert now() < plan.seconds

    run(main())
    exchange = SimulatedExchange(clock=lambda: 0.0)
    left = [told_by(exchange)[2] for _ in range(limit.size + 1)]
    assert told_by(exchange)[:2] == (limit.size, limit.per * 1000)
    assert left == [*reversed(range(limit.size)), 0]
    codes_told = [arrival.err_code for arrival in exchange.arrivals]
    assert codes_told.index(1032) == limit.size


class Script:
    """Grants whatever it is asked, and remembers the arguments."""

    def __init__(self) -> None:
        self.asked: list[list[Any]] = []

    async def __call__(self, keys: Any, args: Any) -> list[int]:
        self.asked.append(list(args))
        return [0, 0, 1]


@bounded
@LIMITS
async def test_the_redis_limiter_asks_for_what_the_table_says(
    limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endpoint's and account's limit go to the script with each take, 2 ms longer; a process's own
    share is a part of the first, and the lease has to outlive the longest period."""
    change(monkeypatch, CANCEL_ALL, limit)
    monkeypatch.setitem(BUDGETS, TRADE, Limit(60, 4.0))
    monkeypatch.setitem(BUDGETS, READ, Limit(30, 6.0))
    script, client = Script(), Redis()

    async def loaded(text: str) -> str:
        return "loaded"

    monkeypatch.setattr(client, "register_script", lambda text: script)
    monkeypatch.setattr(client, "script_load", loaded)
    async with RedisTokenBucket(client, "an account", share_of=2) as bucket:
        await granted(bucket, PATH, 1)
        await granted(bucket, CANCEL.path(), 1)
        await granted(bucket.reads, READS, 1)
        assert bucket.per == max(limit.per, TRAILING.per)
    await client.aclose()
    taken = [one for one in script.asked if "take" in one]
    rules = [one[one.index("take") + 6 :][:4] for one in taken]
    account = [60, 4_002_000]
    assert rules == [
        [limit.size, limit.per * 1e6 + 2000, *account],
        [TRAILING.size, TRAILING.per * 1e6 + 2000, *account],
        [30, 6_002_000, *account],
    ]
    # Of the account's, five sixths are for calls that are not urgent.
    assert {one[one.index("take") + 11] for one in taken} == {50}


@LIMITS
async def test_the_doctor_tells_the_limit_of_the_table(
    limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the findings sees what the limiter in memory will keep to."""
    change(monkeypatch, CANCEL_ALL, limit)
    async with SimulatedExchange() as exchange:
        findings = await examine([exchange.url], read_credentials=lambda: exchange.credentials)
    told = findings[-1].told
    assert told.startswith(
        f"{limit.size} cancel-alls in any {limit.per:g} s, counted in the memory"
    )


def test_an_account_s_budgets_follow_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads, public calls and the total of trade calls; so does the exchange."""
    monkeypatch.setitem(BUDGETS, TRADE, Limit(12, 4.0))
    monkeypatch.setitem(BUDGETS, READ, Limit(30, 6.0))
    monkeypatch.setitem(BUDGETS, NONE, Limit(400, 2.0))

    async def main() -> None:
        limiter, public = AccountLimiter(), public_budget()
        assert limiter.reads.limit(READS) == (30, 6.0)
        assert (public.max_rate, public.time_period) == (20, 2.0)
        paths = [f"/endpoint/{number}" for number in range(9)]
        each = await asyncio.gather(*(granted(limiter, path, 4) for path in paths))
        moments = sorted(moment for one in each for moment in one)
        # Half at once, the other half in the period that follows; a sixth is kept for urgent calls.
        assert busiest(moments, 0.1) == 5
        assert busiest(moments, 4.0) == 9
        exchange = SimulatedExchange(clock=now)
        told = [told_by(exchange, row)[:2] for row in (OPEN_ORDERS, TIMESTAMP)]
        assert told == [(30, 6000), (400, 2000)]

    run(main())


def test_what_cannot_foresee_is_reckoned_by_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limiter of one's own that tells nothing has the endpoint's documented pace."""
    change(monkeypatch, CANCEL_ALL, Limit(4, 2.0))

    class Silent:
        def nothing(self, endpoint: str, *what: object, **how: object) -> None:
            return None

        take = pause = earliest = nothing

    async def main() -> float:
        silent: Any = Silent()
        return as_limiter(silent).foresee(PATH, 9, urgent=False, round_trip=1.0) - now()

    assert run(main()) == pytest.approx(8 * 3.0 / 4)


@pytest.mark.parametrize("size", [3, 5])
def test_v5_s_cancel_has_a_limit_once_the_table_names_one(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Till then clients keep that of v1, and the exchange counts the account's total alone."""
    body = b"[]"

    def codes(exchange: SimulatedExchange) -> list[Any]:
        request = htx_async.simulator.Request("POST", V5_CANCEL.path(), {"Host": "localhost"}, body)
        for _ in range(size + 1):
            exchange.handle(request)
        return [arrival.err_code for arrival in exchange.arrivals]

    assert 1032 not in codes(SimulatedExchange(clock=lambda: 0.0))
    change(monkeypatch, V5_CANCEL, Limit(size, 1.0))
    assert TokenBucket().limit(V5_CANCEL.path()) == (size, 1.0)
    told = codes(SimulatedExchange(clock=lambda: 0.0))
    assert told.count(1032) == 1
    assert told[-1] == 1032


# --- a row that is added while it runs -----------------------------------------------------------

INVENTED = Endpoint(
    "made_up_cancelall",
    ApiGeneration.V1,
    "POST",
    ("/linear-swap-api/v1/swap_invented_cancelall", "/linear-swap-api/v1/swap_cross_invented_all"),
    Permission.TRADE,
    "nobody's: it was made up",
    Kind.CANCEL,
    Limit(3, 1.0),
    filters=("direction", "offset"),
    family="made-up",
)
EXAMPLE = (DATA / "cancelall-live.reply.json").read_bytes()
THE_ORDER = "1442564726236282880"


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    """One row more, for this test."""
    monkeypatch.setitem(ENDPOINTS, INVENTED.name, INVENTED)
    return INVENTED


async def cancelled(
    htx: HtxSession, endpoint: Endpoint, code: str = "BTC-USDT", mode: MarginMode | None = None
) -> CancelReport:
    """What a session's own method for another family of orders is: an intent, one call."""
    wanted = OrderFilter.checked(code, None, None, mode or MarginMode.ISOLATED)
    calls = htx.cross if mode is MarginMode.CROSS else htx
    try:
        return await calls._cancel_all(Intent(wanted, endpoint=endpoint), None, urgent=False)
    except CancelError as error:
        return error.report


def test_an_invented_endpoint_needs_one_row_and_one_recorded_example(invented: Endpoint) -> None:
    """A cancel goes through session, limiter, simulator and report by the row alone: its path, its
    own limit, the recorded ids; a lost answer is repeated as anywhere."""

    async def main() -> None:
        exchange = SimulatedExchange(clock=now)
        exchange.record(invented.name, EXAMPLE)
        exchange.lose_after_work(call=invented.name, contract_code="C4-USDT")
        async with virtual_session(exchange, lambda: 0.001) as htx:
            calls = (cancelled(htx, invented, f"C{number}-USDT") for number in range(8))
            reports = await asyncio.gather(*calls)
        assert {report.outcome for report in reports} == {Outcome.CANCELLED}
        assert {report.successes for report in reports} == {(THE_ORDER,)}
        assert [len(report.attempts) for report in reports] == [1, 1, 1, 1, 2, 1, 1, 1]
        assert {arrival.path for arrival in exchange.arrivals} == {invented.path()}
        assert exchange.busiest(call=invented.name) == 3
        assert 2.0 < now() < 2.2

    run(main())


def test_an_invented_endpoint_has_a_limit_of_its_own_at_the_exchange(invented: Endpoint) -> None:
    """A client that sends more is refused, and told the row's figures; its twin counts apart."""

    async def main() -> None:
        exchange = SimulatedExchange(clock=now)
        exchange.record(invented.name, EXAMPLE)
        async with virtual_session(exchange, lambda: 0.001, limiter=TokenBucket(4)) as htx:
            ones = [cancelled(htx, invented) for _ in range(4)]
            twins = [cancelled(htx, invented, mode=MarginMode.CROSS) for _ in range(3)]
            reports = await asyncio.gather(*ones, *twins)
        codes = [[attempt.code for attempt in report.attempts] for report in reports]
        assert codes == [[None]] * 3 + [[1032, None]] + [[None]] * 3
        assert reports[3].attempts[0].verdict is Verdict.REFUSED
        assert exchange.busiest(path=invented.path()) == 4

    run(main())


async def test_an_invented_endpoint_is_served_over_http_too(invented: Endpoint) -> None:
    """With a signature that the simulated exchange verifies."""
    async with SimulatedExchange() as exchange:
        exchange.record(invented.name, EXAMPLE)
        settings: dict[str, Any] = {"base_urls": exchange.url, "generation": "v1"}
        async with HtxSession(exchange.credentials, **settings) as htx:
            report = await cancelled(htx, invented, mode=MarginMode.CROSS)
        strange = htx_async.Credentials(exchange.credentials.access_key, "a-secret-of-another")
        async with HtxSession(strange, **settings) as htx:
            refused = await cancelled(htx, invented)
    assert (report.outcome, report.successes) == (Outcome.CANCELLED, (THE_ORDER,))
    assert report.margin_mode is MarginMode.CROSS
    assert refused.outcome is Outcome.REFUSED
    assert [arrival.path for arrival in exchange.arrivals] == [*reversed(invented.paths)]


def test_a_row_without_an_example_is_told_to_the_developer(invented: Endpoint) -> None:
    """The simulated exchange makes nothing up; an example is for a row that there is."""

    async def main() -> None:
        exchange = SimulatedExchange(clock=now)
        with pytest.raises(ValueError, match="call is one of"):
            exchange.record("no such row", EXAMPLE)
        async with virtual_session(exchange) as htx:
            await cancelled(htx, invented)

    with pytest.raises(LookupError, match="give `record` an example"):
        run(main())


# --- nowhere else --------------------------------------------------------------------------------

OTHER_FIVES = {
    "* 5 // 6": "the part of a budget that is not kept for urgent calls",
    "_ON_V5 =": "answers that come one after the other",
    "_MOST_PROBLEMS =": "faults told at once",
    "_MOST_SHOWN =": "rows shown",
    "_MOST_TIMES =": "failures in a row",
    "_ORDERS_EACH =": "orders placed",
    ": _Orders = 5,": "orders placed, an option of the command",
    "_SHARE_OF =": "processes",
    "Outcome.UNKNOWN: 5": "an exit code",
    "MOST_SKEW =": "seconds",
    "timeout: float =": "seconds",
    "_PATIENCE =": "seconds",
    "_INDENT =": "columns",
    "MOST = 5": "refusals in a row",
    "_TO_LOOK =": "seconds",
    "shape=_choice(": "a shape of errors",
    "lease: float =": "seconds",
    "_SECONDS =": "bounds of a histogram",
    "range(5)": "answers of a script",
    "TRIGGERED = (4, 5)": "a status of orders",
    "READY, TRIGGERED, FAILED": "a status of orders",
    '"failed": 5': "a status of orders",
    "Shape = Literal[": "a shape of errors",
    "shaped(5,": "a shape of errors",
    "5: {": "a shape of errors",
    '"lever_rate": 5': "a lever",
}
"""Where a five is no limit: what stands in that line, and what it is."""


def test_the_figures_stand_in_the_table_and_nowhere_else() -> None:
    """No other module writes 5, 72 or 240 for a limit; each other 5 says here what it is."""
    unused = set(OTHER_FIVES)
    for file in sorted(PACKAGE.rglob("*.py")):
        lines = file.read_text().splitlines()
        for node in ast.walk(ast.parse(file.read_text())):
            value = node.value if isinstance(node, ast.Constant) else None
            if type(value) not in (int, float) or value not in (5, 72, 240):
                continue
            assert isinstance(node, ast.Constant)
            line = lines[node.lineno - 1]
            known = {text for text in OTHER_FIVES if value == 5 and text in line}
            unused -= known
            assert known or file.name == "endpoints.py", (
                f"{file.name}:{node.lineno} writes {value}: a limit belongs into the table of "
                "endpoints; anything else into OTHER_FIVES"
            )
    assert unused == set()


def test_a_lease_covers_the_longest_period_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session refuses a shared limiter whose tokens come back too early for one endpoint."""
    change(monkeypatch, CANCEL, Limit(1, 2.5))
    credentials = htx_async.Credentials("an-access-key", "a-secret-key")

    async def main() -> None:
        bucket = RedisTokenBucket(Redis(), "an account", share_of=1, lease=5.0)
        with pytest.raises(htx_async.InvalidRequest, match="lease of 5 s is shorter"):
            HtxSession(credentials, limiter=bucket)
        HtxSession(credentials, limiter=bucket, attempt_timeout=2.5)

    asyncio.run(main())
    assert math.isclose(max(periods()), 2.5)


NOTHING = (DATA / "error-1-no-orders.reply.json").read_bytes()


@pytest.mark.parametrize(
    ("generation", "answer", "outcome", "words"),
    [
        ("auto", EXAMPLE, Outcome.CANCELLED, "made-up orders"),
        ("auto", NOTHING, Outcome.UNKNOWN, "nothing is known of made-up orders there"),
        ("v1", NOTHING, Outcome.NOTHING_TO_CANCEL, "made-up orders"),
    ],
)
def test_another_family_is_never_judged_by_the_lists_of_trailing_orders(
    invented: Endpoint, generation: Any, answer: bytes, outcome: Outcome, words: str
) -> None:
    """No list is read and V5 is not asked, of an account that has trailing orders there, too; the
    report, its words and the event name the family, and the session stays where it was."""

    async def main() -> None:
        exchange, heard = SimulatedExchange(clock=now, account="v5"), list[Event]()
        exchange.place("BTC-USDT", "buy", "close")
        exchange.record(invented.name, answer)
        settings: Any = {"generation": generation, "on_event": heard.append}
        async with virtual_session(exchange, lambda: 0.001, **settings) as htx:
            before = htx.generation
            report = await cancelled(htx, invented)
            assert htx.generation == before
        assert (report.outcome, report.family, report.reads) == (outcome, "made-up", ())
        assert words in str(report)
        assert "trailing" not in str(report)
        assert {event.family for event in heard if isinstance(event, CallStarted)} == {"made-up"}
        assert {arrival.path for arrival in exchange.arrivals} == {invented.path()}

    run(main())


def test_another_family_is_not_sent_where_nothing_is_known_of_it(invented: Endpoint) -> None:
    """In a session on V5 alone it is an error of the caller's, before anything is queued."""

    async def main() -> None:
        exchange = SimulatedExchange(clock=now, account="v5")
        async with virtual_session(exchange, generation="v5") as htx:
            with pytest.raises(InvalidRequest, match="made-up orders on V5, so nothing was sent"):
                await cancelled(htx, invented)
        assert not exchange.arrivals

    run(main())
