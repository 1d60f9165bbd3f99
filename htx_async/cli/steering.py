"""What `htx-async simulate place` and its like ask of a running simulation."""

import asyncio
import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from htx_async.calls.base_urls import checked
from htx_async.cli.aside import Aside
from htx_async.cli.exit_codes import USAGE
from htx_async.cli.running import print_report, run
from htx_async.cli.streams import json_of
from htx_async.cli.words import count, visible
from htx_async.errors import InvalidRequest

_PATIENCE = 5.0
_CONTROL = "/_control"


class Simulation:
    """A simulation that is served at `base_url`, http on this machine.

    `InvalidRequest` for what can be none: nothing is ever sent to a real exchange from here.
    """

    def __init__(self, base_url: str | None) -> None:
        if not base_url:
            raise InvalidRequest(
                "which simulation? Name it by --base-url http://127.0.0.1:PORT or HTX_BASE_URL; "
                "`htx-async simulate --keys-file FILE` writes a file that sets it"
            )
        try:
            (self.base_url,) = checked(base_url)
        except InvalidRequest as error:
            raise InvalidRequest(f"--base-url or HTX_BASE_URL: {error}") from None
        if urlsplit(self.base_url).scheme != "http":
            raise InvalidRequest(
                f"{self.base_url} is no simulation, which are on this machine and speak plain "
                "http; nothing was sent"
            )

    def ask(self, path: str = "", **query: str | None) -> Any:
        """The document at `path` of its control path."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", f"{path}?{urlencode(given)}" if given else path, None)

    def tell(self, path: str, command: Mapping[str, Any]) -> Any:
        """Carry out a command; the fields that are None are left out."""
        given = {name: value for name, value in command.items() if value is not None}
        return self._call("POST", path, json.dumps(given).encode())

    def forget(self, path: str) -> Any:
        """Take back what was told there."""
        return self._call("DELETE", path, None)

    def _call(self, method: str, path: str, body: bytes | None) -> Any:
        parts = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port or 80, timeout=_PATIENCE
        )
        try:
            connection.request(method, f"{_CONTROL}{path}", body)
            reply = connection.getresponse()
            return self._document(reply.status, reply.read())
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or "no answer that can be read"
            raise InvalidRequest(
                f"no simulation answers at {self.base_url} ({reason}); is it still running?"
            ) from None
        finally:
            connection.close()

    def _document(self, status: int, body: bytes) -> Any:
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if isinstance(document, dict) and status == http.HTTPStatus.OK:
            return document
        told = document.get("error") if isinstance(document, dict) else None
        if isinstance(told, str) and status != http.HTTPStatus.NOT_FOUND:
            raise InvalidRequest(f"the simulation did not do that: {told}")
        raise InvalidRequest(
            f"{self.base_url} answers, but is no simulation that takes commands: it has to be "
            "`htx-async simulate`, or SimulatedExchange(control=True)"
        )


def begin(base_url: str | None, do: Callable[[Simulation], str | bytes]) -> int:
    """The exit code, once it is told what `do` came to."""

    def work(runner: asyncio.Runner, aside: Aside) -> int:
        told = do(Simulation(base_url))
        if problem := print_report(lambda: told):
            aside.say(f"It is done, but could not be told: {problem}.")
            return USAGE
        return 0

    return run(work, untouched="ask for the status of the simulation")


def place(
    simulation: Simulation,
    contracts: Sequence[str],
    margins: Sequence[str],
    order: Mapping[str, Any],
) -> str:
    """Place orders on each contract in each margin mode, and tell how many; those of the contracts
    before one that is refused stay."""
    lines = []
    for contract in contracts:
        for margin in margins:
            wanted = {**order, "contract_code": contract, "margin_mode": margin}
            reply = simulation.tell("/orders", wanted)
            new = "; the contract is new" if reply["listed_now"] else ""
            placed = count(len(reply["order_ids"]), "order")
            lines.append(f"Placed {placed} on {visible(contract)} in {margin} margin{new}.\n")
    return "".join(lines)


def orders(
    simulation: Simulation, contracts: Sequence[str], margins: Sequence[str], *, as_json: bool
) -> str | bytes:
    """The open orders of some contracts or of all: a line each, and how many there are."""
    rows = [
        row
        for contract in contracts or (None,)
        for row in simulation.ask("/orders", contract_code=contract)["orders"]
        if row["margin_mode"] in margins
    ]
    if as_json:
        return json_of(rows)
    names = ("contract_code", "margin_mode", "direction", "offset", "order_id")
    lines = [f"{' '.join(visible(str(row[name])) for name in names)}\n" for row in rows]
    return f"{''.join(lines)}In the book: {count(len(rows), 'open order')}.\n"


def status(simulation: Simulation, *, as_json: bool) -> str | bytes:
    """What a simulation has and has seen."""
    told = simulation.ask()
    if as_json:
        return json_of(told)
    by_mode = ", ".join(f"{number} in {mode} margin" for mode, number in told["open"].items())
    left, refill = told["outage_left"], told["refill"]
    rows = {
        "account": f"on {told['generation']}",
        "contracts": len(told["contracts"]),
        "open orders": by_mode,
        "ended orders": told["ended"],
        "requests": f"{told['requests']}, cancel-alls in the busiest second: "
        f"{told['busiest_second']}",
        "faults": f"{told['faults']} wait for their request",
        "outage": f"{left:.1f} s to go" if left else "none",
        "refill": f"{refill:g} orders a second come back" if refill else "none",
    }
    width = max(map(len, rows))
    lines = [f"{name:{width}}  {value}\n" for name, value in rows.items()]
    return f"Simulation at {simulation.base_url}\n{''.join(lines)}"
