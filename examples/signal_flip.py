"""The signal flips: 40 contracts lose the stops of their longs, and get those of their shorts.

Five cancels a second is all that the exchange takes, so 40 contracts need eight seconds, and what
each contract waits for is its own answer: `on_report` has it as it comes. A new stop is placed
where the old ones are known to be gone, `confirmed` by the exchange's own list, and nowhere else.

The old stops sell and the new ones buy, so the filter keeps a repeated cancel off the new ones. For
a one-way account leave the offset out. See `confirm_then_place.py` for new orders of the same side.
Ctrl-C ends it where it stands and takes the report along; `guard_sigterm.py` keeps both.
"""

import asyncio
import sys

from _where import Where, chosen

from htx_async import CancelReport, HtxSession, Outcome
from htx_async.simulator import SimulatedExchange

COINS = """
    BTC ETH XRP LTC SOL DOGE AVAX ADA TRX LINK DOT UNI BCH ETC FIL NEAR APT ARB OP SUI
    ATOM XLM HBAR ICP INJ TIA SEI AAVE MKR LDO CRV GRT SAND MANA AXS GALA DYDX ENS EOS ZEC
"""
CONTRACTS = [f"{coin}-USDT" for coin in COINS.split()]
ROUNDS = 2


def known(report: CancelReport) -> str:
    """What is known of a contract that did not flip."""
    if report.outcome is Outcome.NOT_SENT:
        return "nothing was sent, its old stops stand"
    if report.still_open:
        return f"still open: {', '.join(report.still_open)}"
    if report.triggered:
        return f"triggered meanwhile: {', '.join(report.triggered)}; look at its position"
    return f"{report.outcome}, not confirmed: its old stops may stand"


async def flip(htx: HtxSession, where: Where) -> dict[str, str]:
    """Flip every contract; those that did not, each with what is known of it."""
    left: dict[str, str] = {}

    def ended(report: CancelReport) -> None:
        if report.is_clear and report.confirmed and not report.triggered:
            where.place(report.contract_code, "buy", "close")
            left.pop(report.contract_code, None)
        else:
            left[report.contract_code] = known(report)

    wanted = where.contracts
    for number in range(1, ROUNDS + 1):
        # A deadline keeps the report of what is known; asyncio.timeout() would throw it away.
        deadline = htx.plan(wanted).seconds + 10.0
        told = await htx.mass_cancel_trailing(
            wanted, "sell", "close", deadline=deadline, confirm=True, on_report=ended
        )
        print(f"round {number}: {told} ({told.elapsed:.1f} s)")
        for problem in told.callback_errors:
            print(f"a new stop could not be placed: {problem}")
        wanted = tuple(left)
        if not wanted:
            break
    return left


def prepare(exchange: SimulatedExchange) -> None:
    """Longs with two stops each, an entry that nobody wants cancelled, and two faults."""
    for code in CONTRACTS:
        exchange.place(code, "sell", "close", 2)
    exchange.place("BTC-USDT", "buy", "open")
    exchange.lose_after_work(contract_code="ETH-USDT")
    exchange.reject_order(exchange.open_orders("ADA-USDT")[0].order_id, 1048)


async def main(where: Where) -> int:
    async with where:
        if where.exchange is not None:
            prepare(where.exchange)
        async with where.session() as htx:
            left = await flip(htx, where)
    for code, what in left.items():
        print(f"{code}: {what}")
    print(f"{len(where.contracts) - len(left)} of {len(where.contracts)} contracts flipped")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(chosen(CONTRACTS))))
