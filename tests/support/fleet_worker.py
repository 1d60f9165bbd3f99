"""One process of a fleet: callers who cancel one time after the other, through a shared limiter.

Prints a line when it is ready, begins when it reads one, ends when its input does, and then prints
what became of its calls. Run by `tests/limits/test_redis_fleet.py`.
"""

import asyncio
import json
import sys
import time
from typing import Any

from htx_async import CancelError, HtxSession, Outcome
from htx_async.events import AttemptEnded, Event, LimiterModeChanged
from htx_async.redis_limits import RedisTokenBucket

monotonic = time.monotonic


class SkewedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock shows something else than those of other processes."""

    skew = 0.0

    def time(self) -> float:
        return monotonic() + self.skew


class Worker:
    """The callers of one process and what they saw; times are those of the machine."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._calls = dict.fromkeys(("begun", "answered", "not_sent", "unknown"), 0)
        self._attempts: list[tuple[float, str]] = []
        self._modes: list[tuple[float, str]] = []
        self._is_over = False

    def _hear(self, event: Event) -> None:
        if isinstance(event, LimiterModeChanged):
            self._modes.append((monotonic(), event.mode))
        elif isinstance(event, AttemptEnded):
            assert event.attempt.limiter_mode is not None
            self._attempts.append((monotonic(), event.attempt.limiter_mode))

    async def run(self) -> dict[str, Any]:
        """Call until the input ends, then let what is on the wire be answered."""
        given, loop = self._settings, asyncio.get_running_loop()
        limiter = RedisTokenBucket.from_url(given["redis"], "fleet", **given["limiter"])
        session = HtxSession.from_env(
            base_urls=given["exchange"],
            limiter=limiter,
            attempt_timeout=given["attempt_timeout"],
            on_event=self._hear,
        )
        async with limiter, session:
            print("ready", flush=True)
            await loop.run_in_executor(None, sys.stdin.readline)
            callers = [
                asyncio.create_task(self._call(session, number))
                for number in range(given["callers"])
            ]
            await loop.run_in_executor(None, sys.stdin.read)
            self._is_over = True
            await session.aclose(grace=2.0)
            await asyncio.gather(*callers)
        return {"calls": self._calls, "attempts": self._attempts, "modes": self._modes}

    async def _call(self, session: HtxSession, number: int) -> None:
        """Each caller has a contract of its own: those for the same would share their requests."""
        while not self._is_over:
            self._calls["begun"] += 1
            try:
                report = await session.cancel_all_trailing(f"C{number}-USDT", deadline=60.0)
            except CancelError as error:
                report = error.report
            known = {Outcome.NOT_SENT: "not_sent", Outcome.UNKNOWN: "unknown"}
            self._calls[known.get(report.outcome, "answered")] += 1


def main() -> None:
    """Run the worker that the only argument describes."""
    settings = json.loads(sys.argv[1])
    SkewedLoop.skew = skew = settings["skew"]
    wall_clock = time.time
    time.time = lambda: wall_clock() + skew
    with asyncio.Runner(loop_factory=SkewedLoop) as runner:
        print(json.dumps(runner.run(Worker(settings).run())), flush=True)


if __name__ == "__main__":
    main()
