"""Tiles on several cores: each tile in one thread, so that it stays in one core's cache.

Operations within a tile are short. Shared among threads they would be spent mostly in waiting for one another, and many
times over where something else uses a core as well. What must come in order, dropout's random numbers, is fetched by
one thread at a time while the others compute. No sum crosses threads: results do not depend on how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier, Lock
from typing import TypeVar

import torch

Item = TypeVar("Item")


def each(items: Iterable[Item], start: Callable[[], Callable[[Item], None]], threads: int) -> None:
    """Call a worker on every item.

    Args:
        items: fetched in order, by one thread at a time.
        start: makes a worker, one for each thread: a function with buffers of its own.
        threads: how many; with one, the caller's own thread works, and its operations are parallel as always.
    """
    if threads == 1:
        work = start()
        for item in items:
            work(item)
        return
    lock, iterator, inference = Lock(), iter(items), torch.is_inference_mode_enabled()

    def take_turns() -> None:
        with torch.inference_mode(inference), torch.no_grad():  # both are a thread's own
            work = start()
            while True:
                with lock:
                    item = next(iterator, None)
                if item is None:
                    return
                work(item)

    for future in [_pool(torch.get_num_threads()).submit(take_turns) for _ in range(threads)]:
        future.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    pool, ready = ThreadPoolExecutor(threads, "frostline-attention"), Barrier(threads + 1)

    def prepare() -> None:
        torch.get_num_threads()  # a thread takes up the common setting at first use
        torch.set_num_threads(1)  # sets its own, and also what threads to come take up
        ready.wait()

    for _ in range(threads):
        pool.submit(prepare)
    ready.wait()
    torch.set_num_threads(threads)
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of its parent's threads
