"""Foreign coroutines behind a wall: what comes out of them, and what hangs on it."""

import asyncio
import gc
import random
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from htx_async.aio.isolation import Withdrawn, isolated
from tests.support.virtual import run

URL = "https://api.example.test/?Signature=canary"

Work = Callable[[], Coroutine[Any, Any, object]]


class Forced(BaseException):
    """What a library might end a program with."""


def tree(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that hangs on it."""
    yield error
    for linked in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        if linked is not None:
            yield from tree(linked)


def shown(error: BaseException) -> str:
    """Everything that a reporter could send: texts, notes, and the locals of every frame."""
    texts = []
    for one in tree(error):
        texts += [repr(one), str(getattr(one, "__notes__", ""))]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            texts.append(f"{frame.f_code.co_name}: {frame.f_locals!r}")
    return "\n".join(texts)


def frames(error: BaseException) -> set[str]:
    return {
        f.f_code.co_name for one in tree(error) for f, _ in traceback.walk_tb(one.__traceback__)
    }


async def foreign(work: Work) -> object:
    """A library's frame, with the URL in it."""
    url = URL
    assert url
    return await work()


async def ended(work: Work, interrupt: Callable[[], object] = lambda: None) -> BaseException:
    """How `work` ends behind the wall."""
    try:
        value = await isolated(foreign(work), interrupt)
    except BaseException as error:
        return error
    return AssertionError(f"returned {value!r}")


async def cancelled(work: Work, message: str | None = None, turns: int = 3) -> BaseException:
    """How it ends when its task is cancelled after so many turns."""
    task = asyncio.create_task(ended(work))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel(message)
    error = await task
    assert task.uncancel() == 0
    return error


async def waits() -> None:
    await asyncio.Event().wait()


async def swallows() -> str:
    try:
        await waits()
    except asyncio.CancelledError:
        return "done"
    return "never"


async def fails_instead() -> None:
    try:
        await waits()
    finally:
        raise ConnectionError(URL)


async def raises_another() -> None:
    try:
        await waits()
    except asyncio.CancelledError as error:
        raise asyncio.CancelledError(URL) from error


async def decorates() -> None:
    try:
        raise ValueError(URL)
    except ValueError as failure:
        try:
            await waits()
        except asyncio.CancelledError as error:
            error.add_note(URL)
            raise error from failure


async def cleans_up_for_long() -> None:
    try:
        await waits()
    finally:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.mark.parametrize("work", [waits, swallows, fails_instead, raises_another, decorates])
def test_a_cancellation_goes_on_whatever_became_of_it(work: Work) -> None:
    """With its message, and with no frame, text or note of the library's on it."""
    error = run(cancelled(work, "stop it"))
    assert type(error) is asyncio.CancelledError
    assert error.args == ("stop it",)
    assert frames(error) == {"ended", "isolated"}
    assert "canary" not in shown(error)


def test_a_cancellation_waits_for_the_end_of_the_work() -> None:
    """What a library does on its way out is done before the exception goes on."""
    steps: list[str] = []

    async def work() -> None:
        try:
            await cleans_up_for_long()
        finally:
            steps.append("cleaned")

    assert type(run(cancelled(work))) is asyncio.CancelledError
    assert steps == ["cleaned"]


def test_it_is_the_very_object_that_was_thrown_in() -> None:
    """Also where the library has raised one of its own in between, and with its own notes only."""
    thrown = asyncio.CancelledError("the one")
    thrown.add_note("mine")
    seen: list[BaseException] = []

    async def main() -> None:
        waiting = asyncio.get_running_loop().create_future()

        async def work() -> None:
            try:
                await waiting
            except BaseException as error:
                seen.append(error)
                await raises()

        async def raises() -> None:
            raise asyncio.CancelledError(URL)

        steps = isolated(foreign(work), lambda: None)
        assert next(steps) is waiting
        asyncio.current_task().cancel()  # type: ignore[union-attr]  # there is one
        with pytest.raises(asyncio.CancelledError) as caught:
            steps.throw(thrown)
        asyncio.current_task().uncancel()  # type: ignore[union-attr]  # there is one
        assert caught.value is thrown
        assert thrown.__notes__ == ["mine"]
        assert thrown.__context__ is None

    # Before 3.13 a request to cancel that was taken back may still be met.
    with suppress(asyncio.CancelledError):
        run(main())
    assert seen == [thrown]
    assert not thrown.__notes__[1:]


def test_the_interruption_is_told_first() -> None:
    """Before the library hears of it, so that a connection is reset and not closed politely."""
    heard: list[str] = []

    async def work() -> None:
        try:
            await waits()
        finally:
            heard.append("library")

    async def main() -> None:
        task = asyncio.create_task(ended(work, lambda: heard.append("ours")))
        await asyncio.sleep(0)
        task.cancel()
        await task

    run(main())
    assert heard == ["ours", "library"]


@pytest.mark.parametrize("work", [waits, swallows, fails_instead, raises_another, decorates])
def test_timeouts_know_their_own_cancellation(work: Work) -> None:
    """`asyncio.timeout` turns it into its TimeoutError, and the task stands as before; what its
    caller was handling stays the context, as ever, and nothing of the library's does."""

    async def main() -> BaseException:
        task = asyncio.current_task()
        assert task is not None
        try:
            raise LookupError("the caller's")
        except LookupError:
            try:
                async with asyncio.timeout(1.0):
                    await isolated(foreign(work), lambda: None)
            except TimeoutError as error:
                assert task.cancelling() == 0
                return error
        raise AssertionError("no time-out")

    error = run(main())
    assert "canary" not in shown(error)
    assert "foreign" not in frames(error)
    assert {type(one) for one in tree(error)} == {
        TimeoutError,
        asyncio.CancelledError,
        LookupError,
    }


async def fails_at_once() -> None:
    raise ConnectionError(URL)


async def fails_later() -> None:
    await asyncio.sleep(1.0)
    raise ConnectionError(URL)


async def ends_the_program() -> None:
    raise Forced(1)


@pytest.mark.parametrize(
    "work", [waits, fails_instead, decorates, fails_at_once, fails_later, ends_the_program]
)
def test_what_the_caller_was_handling_stays_whole(work: Work) -> None:
    """With its frames, cause and context, however the work in its handler ended."""

    async def main() -> str:
        def broken() -> None:
            try:
                raise KeyError("first")
            except KeyError as error:
                raise LookupError("second") from error

        try:
            broken()
        except LookupError as mine:
            asyncio.get_running_loop().call_later(2.0, asyncio.current_task().cancel)  # type: ignore[union-attr]  # there is one
            with suppress(ConnectionError, asyncio.CancelledError, Forced):
                await isolated(foreign(work), lambda: None)
            return "".join(traceback.format_exception(mine))
        return ""

    told = run(main())
    for words in ('KeyError("first")', 'LookupError("second")', "in broken", "in main"):
        assert words in told


def test_a_librarys_own_timeout_stays_its_own() -> None:
    """It cancels the task and takes that back: what comes out is what the library made of it."""

    async def work() -> None:
        async with asyncio.timeout(1.0):
            await waits()

    async def falls_back() -> str:
        try:
            await work()
        except TimeoutError:
            return "fallen back"
        return "never"

    async def main() -> None:
        error = await ended(work)
        assert type(error) is TimeoutError
        own = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
        assert own == ["ended", "isolated"]
        assert await isolated(foreign(falls_back), lambda: None) == "fallen back"

    run(main())


@asynccontextmanager
async def shared() -> Any:
    """Work that several wait for, which somebody else will cancel."""
    task = asyncio.create_task(asyncio.sleep(100.0))
    asyncio.get_running_loop().call_later(1.0, task.cancel)
    try:
        yield task
    finally:
        task.cancel()


@pytest.mark.parametrize("before", [0, 1], ids=["never cancelled", "cancelled once, and went on"])
def test_a_cancellation_that_nobody_meant_for_the_task_is_a_failure(before: int) -> None:
    """Shared work was cancelled by others; the task that waits for it was not."""

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        for _ in range(before):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(1)
        async with shared() as work:

            async def waits_too() -> None:
                await asyncio.shield(work)

            error = await ended(waits_too)
        assert type(error) is Withdrawn
        assert frames(error) == {"ended", "isolated"}
        assert task.cancelling() == before

    run(main())


def test_a_cancellation_that_is_on_its_way_when_the_work_begins() -> None:
    """Asked for before the first step and met in the middle of the work: it is the task's own."""

    async def main() -> BaseException:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("early")
        error = await ended(waits)
        task.uncancel()
        return error

    error = run(main())
    assert type(error) is asyncio.CancelledError
    assert error.args == ("early",)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Forced])
def test_what_ends_a_program_goes_on_bare(kind: type[BaseException]) -> None:
    """Raised in the library: the same object, without the library's frames, causes and notes."""
    raised: list[BaseException] = []

    async def work() -> None:
        try:
            raise ValueError(URL)
        except ValueError as failure:
            raised.append(kind(7))
            raised[0].add_note(URL)
            raise raised[0] from failure

    error = run(ended(work))
    assert error is raised[0]
    assert error.args == (7,)
    assert frames(error) == {"ended", "isolated"}
    assert "canary" not in shown(error)


def test_what_ends_a_program_goes_before_a_cancellation() -> None:
    """A second Ctrl-C in the middle of a library's own end, bare as ever."""

    async def work() -> None:
        try:
            await waits()
        except asyncio.CancelledError:
            raise KeyboardInterrupt from ValueError(URL)

    error = run(cancelled(work))
    assert type(error) is KeyboardInterrupt
    assert frames(error) == {"ended", "isolated"}
    assert "canary" not in shown(error)


def test_a_group_goes_on_with_what_ends_a_program() -> None:
    """And without the library's failures in it, whose texts may hold the URL."""

    async def work() -> None:
        def failed(error: BaseException) -> BaseException:
            try:
                raise error
            except BaseException as caught:
                caught.add_note(URL)
                return caught

        inner = BaseExceptionGroup("inner", [failed(ValueError(URL)), failed(Forced(1))])
        raise BaseExceptionGroup("outer", [failed(KeyboardInterrupt()), inner])

    error = run(ended(work))
    assert isinstance(error, BaseExceptionGroup)
    assert [type(one) for one in tree(error)] == [
        BaseExceptionGroup,
        KeyboardInterrupt,
        BaseExceptionGroup,
        Forced,
    ]
    assert frames(error) == {"ended", "isolated"}
    assert "canary" not in shown(error)


class Odd(BaseExceptionGroup[Exception]):
    """A group that is no `Exception` though its members are."""

    def derive(self, excs: Any) -> Any:
        return Odd(self.message, excs)


def test_a_group_of_mere_failures_is_a_failure() -> None:
    """Nothing in it ends more than the attempt."""

    async def work() -> None:
        raise Odd("odd", [ValueError(URL)])

    error = run(ended(work))
    assert isinstance(error, Exception)
    assert "canary" not in shown(error)


async def two_waits() -> None:
    try:
        await waits()
    finally:
        await waits()


@pytest.mark.parametrize("work", [waits, swallows, fails_instead, decorates, two_waits])
def test_a_coroutine_that_is_closed_in_the_middle(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GeneratorExit goes on though the library fails, returns or waits; nothing of it is shown to
    whoever hears of what was ignored."""
    ignored: list[BaseException] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: ignored.append(args.exc_value))
    left: list[BaseException] = []

    async def call() -> None:
        try:
            await isolated(foreign(work), lambda: None)
        except BaseException as error:
            left.append(error)
            raise

    async def main() -> None:
        coroutine = call()
        coroutine.send(None)
        coroutine.close()

    run(main())
    gc.collect()
    assert [type(one) for one in left] == [GeneratorExit]
    assert frames(left[0]) <= {"call", "isolated"}
    for error in (*left, *ignored):
        assert "canary" not in shown(error)


def test_values_and_failures_come_through() -> None:
    """A value as it is; a failure of its own kind, for whoever translates it."""

    async def fails() -> None:
        await asyncio.sleep(1.0)
        raise ConnectionError("?")

    async def returns() -> str:
        await asyncio.sleep(1.0)
        return "value"

    async def main() -> None:
        assert await isolated(foreign(returns), lambda: None) == "value"
        error = await ended(fails)
        assert type(error) is ConnectionError
        assert frames(error) == {"ended", "isolated"}

    run(main())


async def any_end(random: random.Random) -> str:
    """A library's work: it waits, times out, swallows, fails, decorates, in any order."""
    url = URL
    for _ in range(random.randint(1, 4)):
        choice = random.randrange(6)
        try:
            async with asyncio.timeout(random.choice([None, 0.5, 1.5])):
                await asyncio.sleep(random.random() * 2)
            if choice == 0:
                raise ConnectionError(url)
        except TimeoutError as error:
            if choice == 1:
                raise ConnectionError(url) from error
        except asyncio.CancelledError as error:
            error.add_note(url)
            if choice == 2:
                raise ConnectionError(url) from error
            if choice != 3:
                raise
    return "value"


def test_any_work_interrupted_at_any_moment() -> None:
    """Cancelled or timed out from outside while it has time-outs of its own: a task that was
    cancelled ends so, one that was not never does, and nothing shows the URL."""
    endings: Counter[str] = Counter()

    async def main(drawn: random.Random) -> object:
        at, way = drawn.random() * 4, drawn.randrange(3)

        async def call() -> object:
            async with asyncio.timeout(at if way == 0 else None):
                return await isolated(any_end(drawn), lambda: None)

        task = asyncio.create_task(call())
        if way == 1:
            asyncio.get_running_loop().call_later(at, task.cancel, "stop")
        (ending,) = await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() is (task.cancelling() > 0)
        return ending

    for seed in range(600):
        ending = run(main(random.Random(seed)))
        if isinstance(ending, BaseException):
            assert "any_end" not in frames(ending)
            assert isinstance(ending, ConnectionError) or "canary" not in shown(ending)
        endings[type(ending).__name__] += 1
    assert set(endings) == {"str", "ConnectionError", "TimeoutError", "CancelledError"}
    assert min(endings.values()) > 30, endings


def test_nothing_stays_in_cycles() -> None:
    """However it ends, the work's own objects are gone without the garbage collector."""

    class Held:
        pass

    async def with_held(work: Work) -> object:
        held = Held()
        try:
            return await work()
        finally:
            del held

    async def fails() -> None:
        raise ConnectionError(URL)

    def alive() -> int:
        return sum(type(one) is Held for one in gc.get_objects())

    async def main(work: Work, *, stop: bool) -> None:
        wrapped: Callable[[], Any] = lambda: with_held(work)  # noqa: E731 - one line of a table
        call: Awaitable[BaseException] = cancelled(wrapped) if stop else ended(wrapped)
        await call
        assert alive() == 0

    gc.collect()
    gc.disable()
    try:
        for work in (waits, swallows, fails_instead, raises_another, decorates):
            run(main(work, stop=True))
        run(main(fails, stop=False))
    finally:
        gc.enable()
