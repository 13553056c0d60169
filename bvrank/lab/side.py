"""Work side by side, a thread to each core: torch's own threads, on tensors so small, only wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")
Advance = Callable[[], None]


_OWN = threading.local()  # `stop`, in a thread that works beside others


class Stopped(Exception):
    """Raised in a thread whose neighbour failed, or whose user pressed Ctrl-C."""


def pause() -> None:
    """Where work can be left: raises Stopped in a thread that has to. Nothing elsewhere."""
    stop = getattr(_OWN, "stop", None)
    if stop is not None and stop.is_set():
        raise Stopped


def side_by_side(work: Callable[[T, Advance], R], items: Sequence[T], threads: int,
                 advance: Advance) -> list[R]:  # fmt: skip
    """`work(item, advance)` of every item, in the order of `items`; what one raises is raised.

    `advance` is called one thread at a time; in the threads it raises Stopped, as `pause` does,
    once one has failed or the user has pressed Ctrl-C.
    """
    stop, lock = threading.Event(), threading.Lock()

    def told() -> None:
        pause()
        with lock:
            advance()

    def begun(item: T) -> R:
        _OWN.stop = stop
        return work(item, told)

    with _single(), ThreadPoolExecutor(max(1, min(threads, len(items)))) as pool:
        running = [pool.submit(begun, item) for item in items]
        try:
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in running]


def parts(items: Sequence[T], most: int) -> list[list[T]]:
    """`items` in stretches of about one length, `most` at most, none empty. The cores do not
    count: figures do not depend on who works."""
    count = max(1, -(-len(items) // most))
    ends = [len(items) * i // count for i in range(count + 1)]
    return [list(items[a:b]) for a, b in pairwise(ends)]


@contextmanager
def _single() -> Iterator[None]:
    """torch with one thread of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
