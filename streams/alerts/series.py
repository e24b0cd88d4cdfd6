"""Every series that is watched, by a small number: a group of one window rule and length.

Numbers are given in order and again after a series was forgotten, the least first, so that columns
of whoever keeps something for each series stay dense. All that decides what comes next is in the
columns: a restored table gives the same numbers.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .finding import find, insert

__all__ = ["Attributes", "Series", "SeriesTable", "Service"]

Attributes = tuple[tuple[str, str | bool | int | float], ...]
"""Of a group, by key, in order of keys."""

_ROOM_MIN = 64


class Service(NamedTuple):
    """Whom a series belongs to."""

    tenant: str
    service: str


class Series(NamedTuple):
    """What a series is."""

    window: str
    """Name of the window rule."""
    length_ms: int
    tenant: str
    service: str
    metric: str
    """Name that comes out of windows; '' for spans and logs."""
    attributes: Attributes


class SeriesTable:
    """Series by hash.

    Args:
        most: how many there may be; what has no room gets no number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._index(_ROOM_MIN)
        self._free: list[int] = []
        self.used = 0
        """Numbers in use or free: columns are that long."""
        self.hash = np.zeros(_ROOM_MIN, np.uint64)
        """0: the number is free."""
        self.channel = np.full(_ROOM_MIN, -1, np.int32)
        """Place of its rule and length."""
        self.service = np.full(_ROOM_MIN, -1, np.int32)
        """Place of its tenant and service."""
        self.kind = np.zeros(_ROOM_MIN, np.uint8)
        """``statistics.Kind``."""
        self.last_ms = np.zeros(_ROOM_MIN, np.int64)
        """End of its last window with items."""
        self._texts: list[bytes | None] = []
        """Metric and attributes as JSON: objects of Python would be most of the memory."""
        self._services: dict[Service, int] = {}
        self._service_list: list[Service] = []

    def __len__(self) -> int:
        return self.used - len(self._free)

    @property
    def room(self) -> int:
        """Numbers that columns have room for."""
        return len(self.hash)

    def _index(self, room: int) -> None:
        self._keys = np.zeros(2 * room, np.uint64)
        self._numbers = np.zeros(2 * room, np.int32)

    def find(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Numbers, -1 for what is not known, and where hashes that are not stand first."""
        found = np.empty(len(hashes), np.int32)
        if not find(self._keys, self._numbers, hashes, found):
            return found, np.empty(0, np.int64)
        unknown = np.flatnonzero(found < 0)
        _, first = np.unique(hashes[unknown], return_index=True)
        return found, unknown[np.sort(first)]

    def add(
        self, hashes: NDArray[np.uint64], channel: int, describe: Callable[[int], Description]
    ) -> NDArray[np.int32]:
        """Numbers for hashes that are not known, as far as there is room; all are of a channel.

        ``describe`` is asked for each that gets a number, by its index.
        """
        count = min(len(hashes), self._most - len(self))
        numbers = np.array([self._take() for _ in range(count)], np.int32)
        self._reserve()
        given = hashes[:count]
        insert(self._keys, self._numbers, given, numbers)
        self.hash[numbers] = given
        self.channel[numbers] = channel
        self.last_ms[numbers] = 0
        for index, number in enumerate(numbers.tolist()):
            found = describe(index)
            self.service[number] = self._service(found.service)
            self.kind[number] = found.kind
            text = json.dumps([found.metric, found.attributes], separators=(",", ":"))
            self._texts[number] = text.encode()
        return numbers

    def _take(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        self._texts.append(None)
        self.used += 1
        return self.used - 1

    def _reserve(self) -> None:
        if self.used <= self.room:
            return
        room = self.room
        while room < self.used:
            room *= 2
        for name in ("hash", "channel", "service", "kind", "last_ms"):
            setattr(self, name, grown(getattr(self, name), room))
        self._rebuild()

    def _rebuild(self) -> None:
        self._index(self.room)
        numbers = np.flatnonzero(self.hash[: self.used]).astype(np.int32)
        insert(self._keys, self._numbers, self.hash[numbers], numbers)

    def _service(self, service: Service) -> int:
        found = self._services.get(service)
        if found is None:
            found = self._services[service] = len(self._service_list)
            self._service_list.append(service)
        return found

    def of_channel(self, channel: int) -> NDArray[np.int32]:
        """Numbers of a rule's and length's series, ascending."""
        return np.flatnonzero(self.channel[: self.used] == channel).astype(np.int32)

    def of_service(self, service: int) -> NDArray[np.int32]:
        """Numbers of a service's series, ascending."""
        return np.flatnonzero(self.service[: self.used] == service).astype(np.int32)

    def forget(self, numbers: NDArray[np.int32]) -> None:
        """Free them."""
        if not len(numbers):
            return
        self.hash[numbers] = 0
        self.channel[numbers] = -1
        self.service[numbers] = -1
        for number in numbers.tolist():
            self._texts[number] = None
            heapq.heappush(self._free, number)
        self._rebuild()
        self._forget_services()

    def _forget_services(self) -> None:
        """Services come and go: their list must not only grow."""
        if len(self._service_list) <= 2 * _ROOM_MIN:
            return
        live = np.unique(self.service[: self.used])
        live = live[live >= 0]
        if 2 * len(live) > len(self._service_list):
            return
        place = np.full(len(self._service_list) + 1, -1, np.int32)
        place[live] = np.arange(len(live), dtype=np.int32)
        self._service_list = [self._service_list[each] for each in live.tolist()]
        self._services = {each: n for n, each in enumerate(self._service_list)}
        self.service[: self.used] = place[self.service[: self.used]]

    def describe(self, number: int, channels: Sequence[tuple[str, int]]) -> Series:
        """What a number stands for; ``channels``: rules' names and lengths by place."""
        text = self._texts[number]
        if text is None:
            raise KeyError(number)
        metric, attributes = json.loads(text)
        window, length_ms = channels[int(self.channel[number])]
        service = self._service_list[int(self.service[number])]
        return Series(
            window, length_ms, *service, metric, tuple((key, value) for key, value in attributes)
        )

    # --- snapshots

    def columns(self) -> dict[str, NDArray[Any]]:
        """Everything, as columns."""
        n = self.used
        texts = [text or b"" for text in self._texts]
        services = json.dumps(self._service_list, separators=(",", ":")).encode()
        return {
            "hash": self.hash[:n],
            "channel": self.channel[:n],
            "service": self.service[:n],
            "kind": self.kind[:n],
            "last_ms": self.last_ms[:n],
            "text_stop": np.cumsum([len(text) for text in texts], dtype=np.int64),
            "texts": np.frombuffer(b"".join(texts), np.uint8),
            "services": np.frombuffer(services, np.uint8),
        }

    def restore(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``columns`` gave. Raises KeyError, ValueError or TypeError."""
        n = self.used = len(columns["hash"])
        room = _ROOM_MIN
        while room < n:
            room *= 2
        for name in ("hash", "channel", "service", "kind", "last_ms"):
            own: NDArray[Any] = np.zeros(room, getattr(self, name).dtype)
            own[:n] = columns[name]
            setattr(self, name, own)
        text = columns["texts"].tobytes()
        starts = [0, *columns["text_stop"].tolist()]
        live = (self.hash[:n] != 0).tolist()
        self._texts = [
            text[starts[i] : starts[i + 1]] if there else None for i, there in enumerate(live)
        ]
        self._free = [i for i, there in enumerate(live) if not there]
        self._service_list = [
            Service(*map(str, each)) for each in json.loads(columns["services"].tobytes())
        ]
        self._services = {each: i for i, each in enumerate(self._service_list)}
        self._rebuild()


class Description(NamedTuple):
    """What a new series is."""

    service: Service
    metric: str
    attributes: Attributes
    kind: int


def grown(column: NDArray[Any], room: int) -> NDArray[Any]:
    """The column with room for more, zero there."""
    larger: NDArray[Any] = np.zeros((room, *column.shape[1:]), column.dtype)
    larger[: len(column)] = column
    return larger
