"""Single flight: concurrent calls with one key share one execution and its result."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

Brought = TypeVar("Brought")


class Flight(Generic[Brought]):
    """By key one call at a time; who comes while it is under way shares its result or its error.

    It began before they came: what is brought may be as old as their waiting is long.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: dict[Hashable, Future[Brought]] = {}

    def share(self, key: Hashable, call: Callable[[], Brought]) -> Brought:
        with self._lock:
            found = self._under_way.get(key)
            if found is None:
                mine = self._under_way[key] = Future()
        if found is not None:
            return found.result()
        try:
            brought = call()
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(brought)
            return brought
        finally:
            with self._lock:
                del self._under_way[key]
