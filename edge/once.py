"""Once: what threads share is made by the first one that asks for it; the others wait."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Values by key. ``functools.cache`` would make one in each thread that asks at that time."""

    def __init__(self) -> None:
        self._made: dict[Hashable, T] = {}
        self._turns: dict[Hashable, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of ``key``, made at the first call; what ``make`` raises is not kept."""
        with self._guard:
            if key in self._made:
                return self._made[key]
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            if key not in self._made:
                self._made[key] = make()
                self._turns.pop(key, None)
            return self._made[key]


def once(function: Callable[..., T]) -> Callable[..., T]:
    """``functools.cache`` for positional arguments, run once for each set of them."""
    made: Once[T] = Once()

    @functools.wraps(function)
    def call(*arguments: Hashable) -> T:
        return made.get(arguments, lambda: function(*arguments))

    return call
