"""Confirm, then place again: a contract never has two stops, and never loses one unseen.

A trailing order has no id of yours, so a repeated cancel also takes what was placed since the first
try. So a new stop of the same side waits until the call has ended *and* the exchange's list shows
that the old ones are gone. Five contracts, five ways in which that goes:

    BTC   cancelled, and seen to be gone: the new stop is placed
    ETH   the answer is lost; asked again, nothing is left: placed
    SOL   its stop triggered in that moment: not placed, a person looks at the position
    XRP   the exchange refuses: the old stop stands
    DOGE  no answer to believe for as long as the deadline: asked once more, then a person looks
"""

import asyncio
import sys

from _where import Where, chosen

from htx_async import CancelError, CancelRefused, HtxSession, NotSent
from htx_async.simulator import SimulatedExchange

CONTRACTS = ["BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT", "DOGE-USDT"]
TRIES = 2


async def replace(htx: HtxSession, where: Where, code: str) -> tuple[bool, str]:
    """Cancel the contract's sell stops and place one new; whether it was placed, and why."""
    why = ""
    for _ in range(TRIES):
        try:
            report = await htx.cancel_all_trailing(
                code, "sell", "close", deadline=4.0, confirm=True
            )
        except NotSent:
            why = "nothing was sent: the old stop stands"
            continue
        except CancelRefused as refusal:
            # Its kinds say more: AuthenticationFailed, RateLimited, Unavailable ...
            return False, f"refused with {refusal.code}: the old stop stands"
        except CancelError as error:
            # PartialCancel or OutcomeUnknown; `confirmed` says which of both it is now.
            report = error.report
        if report.triggered:
            return False, "the old stop triggered: look at the position first"
        if report.confirmed:
            where.place(code, "sell", "close")
            return True, f"{report.outcome}, seen to be gone"
        # To cancel once more is safe: nothing was placed since.
        why = f"still open: {', '.join(report.still_open)}" if report.still_open else "not known"
    return False, f"{why}, after {TRIES} tries"


def prepare(exchange: SimulatedExchange) -> None:
    """One stop for each contract, and what becomes of the cancels."""
    ids = {code: exchange.place(code, "sell", "close")[0] for code in CONTRACTS}
    exchange.lose_after_work(contract_code="ETH-USDT")
    exchange.reject_order(ids["SOL-USDT"], 1063)
    exchange.refuse(1088, "This contract takes no cancels now.", contract_code="XRP-USDT")
    exchange.bad_gateway(times=100, contract_code="DOGE-USDT", call="any")


async def main(where: Where) -> int:
    async with where:
        if where.exchange is not None:
            prepare(where.exchange)
        async with where.session() as htx:
            told = await asyncio.gather(*(replace(htx, where, code) for code in where.contracts))
    for code, (placed, why) in zip(where.contracts, told, strict=True):
        print(f"{code:10} {'placed' if placed else 'NOT placed':10} {why}")
    # Those of the rehearsal are meant to end so.
    return 0 if where.exchange is not None or all(placed for placed, _ in told) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(chosen(CONTRACTS))))
