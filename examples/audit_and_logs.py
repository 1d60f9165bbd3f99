"""A record that outlives the process, and a log that somebody reads.

`AuditLog` appends a line of JSON for each event: who, why, what was meant, each attempt, what came
of it. The intent is on disk before the first cancel leaves. The log has what a person may have to
act on. Nothing secret is in either. Both are listeners: whatever they do, the cancels go on, and a
record that could not be kept is told in the report's `warnings`.
"""

import asyncio
import json
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

from _where import Where, chosen

from htx_async import MassCancelReport
from htx_async.audit import AuditLog
from htx_async.logs import to_logging
from htx_async.simulator import SimulatedExchange

CONTRACTS = ["BTC-USDT", "ETH-USDT", "SOL-USDT"]


async def pull(where: Where, file: Path) -> MassCancelReport:
    async with (
        AuditLog(file, actor="night desk", reason="exchange incident") as audit,
        where.session(on_event=[audit, to_logging()]) as htx,
    ):
        return await htx.mass_cancel_trailing(where.contracts, deadline=20.0, confirm=True)


def read(file: Path) -> None:
    """What the record says: how many lines of which kind, and what came of each contract."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    print(file.name, dict(Counter(line["event"] for line in lines)))
    for line in lines:
        if line["event"] == "call_ended":
            print(line["report"]["contract_code"], line["report"]["outcome"], line["actor"])


def prepare(exchange: SimulatedExchange) -> None:
    """Orders, an answer that gets lost, and one order that is not given up."""
    for code in CONTRACTS:
        exchange.place(code, "sell", "close", 2)
    exchange.lose_after_work(contract_code="ETH-USDT")
    exchange.reject_order(exchange.open_orders("SOL-USDT")[0].order_id, 1048)


async def main(where: Where) -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with where:
            if where.exchange is not None:
                prepare(where.exchange)
            file = Path("htx-audit.jsonl" if where.exchange is None else f"{folder}/audit.jsonl")
            report = await pull(where, file)
        read(file)
    print(report)
    # The rehearsal is meant to leave one order open.
    return 0 if report.is_clear or where.exchange is not None else 1


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(message)s")
    sys.exit(asyncio.run(main(chosen(CONTRACTS))))
