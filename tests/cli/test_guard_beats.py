"""What a guard makes of its command's beats, in virtual time."""

import asyncio
import os
import socket
import time

import pytest

from htx_async.cli.guard_beats import Beats
from htx_async.notify import Watcher
from tests.support.virtual import run


class Teller:
    """A command, as far as its beats go."""

    def __init__(self, beats: Beats) -> None:
        self._watcher = Watcher.of_this_process(beats.environment)

    async def tell(self, *states: str, then: float) -> None:
        """Say so, and let time pass."""
        assert self._watcher is not None
        self._watcher.tell(*states)
        for _ in range(3):
            # The loop looks at its sockets now, and not only when time has jumped.
            await asyncio.sleep(0)
        await asyncio.sleep(then)

    def close(self) -> None:
        assert self._watcher is not None
        self._watcher.close()


async def silent_after(*told: tuple[tuple[str, ...], float], outer: Watcher | None = None) -> bool:
    """Whether a guard with a heartbeat of 1 s and a grace of 10 s takes this for a hang."""
    with Beats(1.0, 10.0, outer) as beats:
        teller = Teller(beats)
        for states, then in told:
            await teller.tell(*states, then=then)
        teller.close()
        return beats.silent.is_set()


BEAT, READY, STOPPING = ("WATCHDOG=1",), ("READY=1",), ("STOPPING=1",)


@pytest.mark.parametrize(
    ("told", "hangs"),
    [
        ([(READY, 600.0)], False),
        ([(BEAT, 0.9), (BEAT, 0.9)], False),
        ([(BEAT, 1.1)], True),
        ([(("STATUS=well", *BEAT), 1.1)], True),
        ([(BEAT, 0.5), (STOPPING, 9.9)], False),
        ([(BEAT, 0.5), (STOPPING, 10.1)], True),
        ([(BEAT, 0.5), (STOPPING, 0.5), ((*READY, *BEAT), 1.1)], True),
        ([(("WATCHDOG=trigger",), 0.1)], True),
        ([(("nonsense", "WATCHDOG=2", "="), 600.0)], False),
    ],
)
def test_silence_is_a_hang_from_the_first_beat_on(
    told: list[tuple[tuple[str, ...], float]], hangs: bool
) -> None:
    """Not before it; a command that says that it stops has the grace for it."""
    assert run(silent_after(*told)) is hangs


def test_a_guard_that_was_stopped_itself_gives_another_chance() -> None:
    """Beats that lie in the socket count, and where none do the command may have been stopped,
    too."""

    async def main() -> None:
        with Beats(1.0, 10.0, None) as beats:
            teller = Teller(beats)
            await teller.tell(*BEAT, then=0.5)
            loop = asyncio.get_running_loop()
            now = loop.time
            loop.time = lambda: now() + 60.0  # type: ignore[method-assign]  # as after Ctrl-Z and fg
            await asyncio.sleep(0.9)
            assert not beats.silent.is_set()
            await asyncio.sleep(0.3)
            teller.close()
            assert beats.silent.is_set()

    run(main())


def test_what_concerns_who_watches_the_guard_is_handed_on() -> None:
    """Its state, and nothing that would take the guard's place: beats and the main process are the
    guard's own."""

    async def main() -> list[bytes]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.setblocking(False)
            name = f"htx_async-test-{os.getpid()}-{time.monotonic_ns()}"
            systemd.bind(f"\0{name}")
            outer = Watcher(f"@{name}", None)
            states = ("READY=1", "MAINPID=7", "STATUS=well", "WATCHDOG=1", "FDSTORE=1")
            await silent_after((states, 0.1), (BEAT, 0.1), outer=outer)
            outer.close()
            found = [systemd.recv(4096)]
            with pytest.raises(BlockingIOError):
                systemd.recv(4096)
            return found

    assert run(main()) == [b"READY=1\nSTATUS=well"]
