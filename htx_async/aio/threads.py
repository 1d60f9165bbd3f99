"""Work in a thread of its own, which nobody has to wait for."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], name: str) -> T:
    """What `work` returns or raises.

    In a thread of its own: the loop's pool may be full of work that hangs, and is waited for at the
    loop's end. A caller that is cancelled leaves it behind; it keeps no process from ending.
    """
    result: Future[T] = Future()
    # From now on a cancellation leaves it alone, so that the thread may always fill it.
    result.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result.set_result(work())
        except Exception as error:
            result.set_exception(error)

    threading.Thread(target=run, name=f"htx_async {name}", daemon=True).start()
    return await asyncio.wrap_future(result)
