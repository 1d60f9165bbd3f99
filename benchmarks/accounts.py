"""What it costs to keep the facts of a mass cancel, and to tell the account of it.

500 contracts, three attempts each, of which two were lost: memory of the ledger, and CPU of all
reports together, the median of several times. Run: `python -m benchmarks.accounts`.
"""

import statistics
import sys
import time
import tracemalloc
from datetime import UTC, datetime

from benchmarks.targets import at_most
from htx_async.calls.in_flight import Heard
from htx_async.cancel import judge
from htx_async.cancel.ledger import Intent, Ledger
from htx_async.enums import ApiGeneration, Verdict
from htx_async.exchange.operation import Kind, Reply
from htx_async.filters import OrderFilter
from htx_async.report import Attempt

_CONTRACTS = [f"C{number}-USDT" for number in range(500)]
_VERDICTS = (Verdict.UNKNOWN, Verdict.UNKNOWN, Verdict.ACCEPTED)
_STARTED = datetime(2026, 3, 1, tzinfo=UTC)
_TIMES = 7
_MOST_MEGABYTES = 8.0
_MOST_MILLISECONDS = 50.0


def _attempt(verdict: Verdict, number: int) -> Attempt:
    return Attempt(
        number=number,
        base_url="https://a.example",
        started=_STARTED,
        waited=0.0,
        wire=0.1,
        http_status=200,
        verdict=verdict,
        code=None,
        message="",
        sent=True,
    )


def _ledger() -> Ledger:
    kept, now = Ledger(0.0, None), 0.0
    for contract in _CONTRACTS:
        for number, verdict in enumerate(_VERDICTS, 1):
            ids = (f"1442564726{now * 10:09.0f}",) if verdict is Verdict.ACCEPTED else ()
            reply = Reply(verdict, successes=ids)
            place = (next(kept.requests), Kind.CANCEL, ApiGeneration.V1, (contract,), ())
            kept.file(Heard(*place, _attempt(verdict, number), reply, now, now + 0.1))
            now += 0.2
    return kept


def _milliseconds(ledger: Ledger, intents: list[Intent]) -> float:
    began = time.process_time()
    told = [judge.report(judge.states(intent, ledger), 1e3) for intent in intents]
    took = time.process_time() - began
    assert all(report.is_clear for report in told)
    return took * 1e3


def main() -> int:
    """Print the figures beside their targets; 0 when both are kept."""
    tracemalloc.start()
    ledger = _ledger()
    megabytes = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    intents = [Intent(OrderFilter.checked(code, None, None)) for code in _CONTRACTS]
    took = [_milliseconds(ledger, intents) for _ in range(_TIMES)]
    told = f"{min(took):.0f} to {max(took):.0f}"
    print(f"all reports of {len(intents)} contracts: {told} ms of CPU, over {_TIMES} times")
    kept = [
        at_most("  the median", statistics.median(took), _MOST_MILLISECONDS, " ms"),
        at_most("  the ledger that they are told from", megabytes, _MOST_MEGABYTES, " MB"),
    ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
