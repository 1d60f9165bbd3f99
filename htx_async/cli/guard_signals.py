"""Signals of a guard: none of them ends it, and where they came from is known.

They are blocked in every thread, and one thread waits for them: what Python hands to a handler does
not tell whether a signal came from the terminal, which has sent it to the command, too.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import NamedTuple

PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")

_ALL = (*PASSED_ON, "SIGCHLD")

_FROM_KEYS = (signal.SIGINT, getattr(signal, "SIGQUIT", None), getattr(signal, "SIGWINCH", None))
"""What a terminal sends to all processes in its foreground."""


class Heard(NamedTuple):
    """A signal. `by_terminal`: whether the terminal sent it, to the whole foreground."""

    number: int
    by_terminal: bool


class Signals:
    """Blocked from now on, until the process is gone; `usual` is what was blocked before.

    To be made before any thread is started. What is ignored stays so, as SIGHUP is under nohup.
    """

    def __init__(self) -> None:
        # A SIGCHLD that is ignored, as a parent may have left it, takes exit codes along.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        known = [getattr(signal, name) for name in _ALL if hasattr(signal, name)]
        self._heard = {one for one in known if signal.getsignal(one) is not signal.SIG_IGN}
        # A terminal that stops whoever writes from the background does not stop a guard.
        self.usual = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._heard, signal.SIGTTOU})

    def listen(self, react: Callable[[Heard], object]) -> None:
        """Call `react` with each signal on the running event loop, as long as that is open."""
        loop = asyncio.get_running_loop()

        def wait() -> None:
            while not loop.is_closed():
                heard = _waited(self._heard)
                try:
                    loop.call_soon_threadsafe(react, heard)
                except RuntimeError:
                    return

        threading.Thread(target=wait, name="htx-async signals", daemon=True).start()


def _waited(signals: set[signal.Signals]) -> Heard:
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(signals)
        # Above 0: by the kernel (man 2 sigaction, "si_code").
        return Heard(info.si_signo, info.si_code > 0 and info.si_signo in _FROM_KEYS)
    number = signal.sigwait(signals)
    return Heard(number, number in _FROM_KEYS)
