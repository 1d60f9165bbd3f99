"""One process that takes tokens of its host's file, one time after the other, and says when.

Prints "ready", begins when it reads a line, writes a line for each token as it gets it, and ends
with its input; run by `tests/limits/test_host_fleet.py`.
"""

import asyncio
import json
import os
import resource
import sys
import time
from typing import Any

from htx_async import HostTokenBucket
from tests.support.host_files import ACCOUNT, PATH


async def work(given: dict[str, Any]) -> None:
    """Take tokens with so many callers, each held for `latency` seconds."""
    loop = asyncio.get_running_loop()
    if "most" in given:
        # A disk that has no room for more.
        resource.setrlimit(resource.RLIMIT_FSIZE, (given["most"], given["most"]))

    async def call(bucket: HostTokenBucket) -> None:
        while True:
            async with bucket.take(PATH, urgent=given.get("urgent", False)) as token:
                told = json.dumps([time.monotonic(), token.mode, token.warning])
                os.write(1, f"{told}\n".encode())
                await asyncio.sleep(given["latency"])

    async with HostTokenBucket(ACCOUNT, **given["bucket"]) as bucket:
        print("ready", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        callers = [asyncio.create_task(call(bucket)) for _ in range(given["callers"])]
        await loop.run_in_executor(None, sys.stdin.read)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
