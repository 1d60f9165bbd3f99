"""One client in a process of its own, under orders from its input, a line of JSON each.

Says first which versions it runs. `{"situation": ..., "urls": [...]}` is one mass cancel, or two;
the answer has what each says of itself. Ends when its input
closes. Run by `benchmarks.flat` as `python -m benchmarks.time_to_flat.worker CLIENT`.
"""

import asyncio
import faulthandler
import json
import sys
from importlib.metadata import version
from typing import Any

from benchmarks.time_to_flat.clients import CLIENTS, STANDS_ON, MassCancel
from benchmarks.time_to_flat.situations import BY_NAME

_MOST_SECONDS = 100.0


async def _told(cancel: MassCancel, after: float) -> dict[str, Any]:
    await asyncio.sleep(after)
    return await cancel()


async def work(client: str, name: str, urls: list[str]) -> list[dict[str, Any]]:
    """One situation."""
    situation = BY_NAME[name]
    async with CLIENTS[client](situation, urls) as cancel:
        starts = [0.0] if situation.again is None else [0.0, situation.again]
        return list(await asyncio.gather(*(_told(cancel, after) for after in starts)))


def main() -> None:
    """Obey until the input ends; whoever hangs is ended."""
    (client,) = sys.argv[1:]
    print(json.dumps({one: version(one) for one in STANDS_ON[client]}), flush=True)
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            order = json.loads(line)
            faulthandler.dump_traceback_later(_MOST_SECONDS, exit=True)
            calls = runner.run(work(client, order["situation"], order["urls"]))
            print(json.dumps({"calls": calls}), flush=True)
            faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
