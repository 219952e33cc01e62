"""What was made once and may be asked for again, as long as there is room for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any


class Kept:
    """Things by key, up to so many bytes: what was not asked for the longest goes first. Threads may share it.

    Parameters
    ----------
    limit
        Bytes of all of them.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._things: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._things)

    def get(self, key: Hashable) -> Any:
        """The thing, or None if it is not kept."""
        with self._lock:
            if key not in self._things:
                return None
            self._things.move_to_end(key)
            return self._things[key][0]

    def put(self, key: Hashable, thing: Any, size: int) -> None:
        """Keep a thing of so many bytes; one that is larger than the limit is not kept."""
        with self._lock:
            self.bytes -= self._things.pop(key, (None, 0))[1]
            if size > self.limit:
                return
            self._things[key] = (thing, size)
            self.bytes += size
            while self.bytes > self.limit:
                _, (_, freed) = self._things.popitem(last=False)
                self.bytes -= freed
