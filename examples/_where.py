"""Where an example runs: on an exchange inside its own process, or on the real one.

    python examples/signal_flip.py                            the embedded exchange; no key is read
    python examples/signal_flip.py --live BTC-USDT ETH-USDT   the real one, once you have typed yes

The keys of a bot lie in the environment of its host, so no variable makes an example live. That
takes the word `--live`, contracts by name, a terminal, and "yes" typed there.
"""

import argparse
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn, Self, Unpack

from htx_async import Credentials, HtxSession, InvalidRequest, SessionSettings
from htx_async.enums import DirectionLike, OffsetLike
from htx_async.simulator import SimulatedExchange

REFUSED = 2


class Where:
    """The exchange that an example works on, and its contracts; `async with` serves the embedded
    one. `exchange`: that one, or None on the real exchange."""

    def __init__(self, contracts: Sequence[str], exchange: SimulatedExchange | None) -> None:
        self.contracts = tuple(contracts)
        self.exchange = exchange

    async def __aenter__(self) -> Self:
        if self.exchange is not None:
            await self.exchange.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.exchange is not None:
            await self.exchange.__aexit__(kind, error, traceback)

    def session(self, **settings: Unpack[SessionSettings]) -> HtxSession:
        """A session there; of all that you copy, yours is the second line."""
        if self.exchange is None:
            return HtxSession.from_env(**settings)
        settings["base_urls"] = self.exchange.url
        return HtxSession(self.exchange.credentials, **settings)

    def place(self, contract_code: str, direction: DirectionLike, offset: OffsetLike) -> None:
        """Where your own client places a trailing order: this package places none."""
        if self.exchange is None:
            print(f"{contract_code}: here your client places a {direction} {offset} order")
        else:
            self.exchange.place(contract_code, direction, offset)


def chosen(rehearsed: Sequence[str], key: str | None = None) -> Where:
    """The embedded exchange with the contracts `rehearsed`, or the real one with those that stand
    behind `--live`. Ends the process with 2 unless the latter was meant for certain. `key`: both
    keys of the embedded exchange, random unless given."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Without --live it runs on an exchange inside its own process; no key is read.",
    )
    told = "on the real exchange, once you have typed yes"
    parser.add_argument("--live", nargs="+", metavar="CONTRACT", help=told)
    named: list[str] | None = parser.parse_args().live
    if named is None:
        return Where(rehearsed, SimulatedExchange(access_key=key, secret_key=key))
    if not sys.stdin.isatty():
        _refuse("--live asks a question, and stdin is no terminal")
    try:
        key = Credentials.from_env().access_key
        print(f"This cancels trailing orders of {', '.join(named)} on the REAL exchange,")
        print(f"with the access key that ends in {key[-4:]}.")
        answer = input('Type "yes" to go on: ')
    except InvalidRequest as error:
        _refuse(str(error))
    except (EOFError, KeyboardInterrupt):
        answer = ""
    if answer != "yes":
        _refuse("not answered with yes")
    return Where(named, None)


def _refuse(why: str) -> NoReturn:
    print(f"{why}: nothing was sent", file=sys.stderr)
    sys.exit(REFUSED)
