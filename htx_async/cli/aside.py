"""stderr while a command works: written aside, so that nothing waits for it."""

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol

import typer

from htx_async.cli.result import was_only_looked_at
from htx_async.cli.streams import give_up
from htx_async.cli.words import named, visible, words
from htx_async.cli.wrapping import width_of, wrapped
from htx_async.enums import Outcome
from htx_async.report import CancelReport

_TICK = 0.1
_TO_WRITE = 1.0


class Display(Protocol):
    """How stderr looks for the time being."""

    def say(self, text: str) -> None:
        """Show one line."""

    def ended(self, report: CancelReport) -> None:
        """Show that a contract has ended."""

    def tick(self) -> None:
        """Time has passed."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines:
    """Plain lines."""

    def say(self, text: str) -> None:
        """Write it; a terminal gets lines that end between words."""
        typer.echo(wrapped(visible(text), width_of(sys.stderr)), err=True)

    def ended(self, report: CancelReport) -> None:
        """Write one line for the contract, if anything was sent for it: what was not shares its
        cause with others, and is told with them."""
        if not was_only_looked_at(report) and report.outcome is not Outcome.NOT_SENT:
            self.say(f"{named(report)}: {words(report.outcome)}")

    def tick(self) -> None:
        """Nothing changes."""

    def close(self) -> None:
        """Nothing to undo."""


class Aside:
    """stderr, written by a thread of its own.

    A terminal may be stopped and a pipe left unread: a cancel does not wait for either. What
    cannot be written is lost.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[Display], object] | None] = SimpleQueue()
        self._display: Display = Lines()
        self._thread = threading.Thread(target=self._write, name="htx-async stderr", daemon=True)
        self._thread.start()
        self._is_stuck = False

    def say(self, text: str) -> None:
        """Show one line."""
        self._jobs.put(lambda display: display.say(text))

    def draw(self, make: Callable[[], str]) -> None:
        """Write what `make` makes, as it stands, with its line ends; it is made in the thread."""
        self._jobs.put(lambda display: typer.echo(make(), err=True, nl=False))

    def ended(self, report: CancelReport) -> None:
        """Show that a contract has ended."""
        self._jobs.put(lambda display: display.ended(report))

    def show(self, make: Callable[[], Display]) -> None:
        """From now on show what `make` makes; it is made in the thread."""

        def change(display: Display) -> None:
            display.close()
            self._display = Lines()
            self._display = make()

        self._jobs.put(change)

    def settle(self) -> None:
        """Go back to plain lines, and wait for at most a second until all is written."""
        self.show(Lines)
        settled = threading.Event()
        self._jobs.put(lambda display: settled.set())
        self._is_stuck = not settled.wait(_TO_WRITE)

    def close(self) -> bool:
        """End the thread; whether it has ended, within a second or at once if it was stuck."""
        self.show(Lines)
        self._jobs.put(None)
        self._thread.join(0.0 if self._is_stuck else _TO_WRITE)
        return not self._thread.is_alive()

    def _write(self) -> None:
        while (job := self._next()) is not None:
            try:
                job(self._display)
            except OSError:
                self._display = Lines()
                give_up(sys.stderr)
            except Exception:
                # What cannot be drawn may still be said.
                self._display = Lines()
                with suppress(Exception):
                    job(self._display)

    def _next(self) -> Callable[[Display], object] | None:
        try:
            return self._jobs.get(timeout=_TICK)
        except Empty:
            return lambda display: display.tick()
