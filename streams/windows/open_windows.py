"""Windows that are open: groups, what they have in each window, and cumulative streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.config.windows import Windows as Settings

from .bounds import BoundSets
from .counts_windows import WindowCounts
from .cumulative import Points, Streams
from .groups import Groups
from .increases import BOUNDS_CHANGED, DUPLICATE, GAP, NEW, OVERLAP, RESET
from .merging import BOUNDS, CLOSED, DONE, LENGTH, NEVER, close_rows, lists, merge_cells
from .store import Store

__all__ = ["OpenWindows"]


class OpenWindows:
    """All windows of a partition. ``slots``: a row for each rule and length (merging.py).

    Args:
        settings: rules and limits.
        partition: of ``windows``.
    """

    def __init__(self, settings: Settings, partition: int = 0) -> None:
        self.settings = settings
        rules = settings.rules
        self.groups = Groups(rules, settings.cardinality_limit, partition)
        self.bounds, self.store = BoundSets(), Store()
        self.streams = Streams(
            len(rules), settings.streams_max, int(settings.stale_after * 1000)
        )  # fmt: skip
        self.lengths = [(i, length) for i, rule in enumerate(rules) for length in rule.lengths_ms]
        """Rule and length of each slot."""
        self.slots = np.array([[length, NEVER] for _, length in self.lengths], np.int64)
        self.slot_stops = np.cumsum([0, *(len(rule.lengths_ms) for rule in rules)])
        self.slot_places = np.array(
            [slot - self.slot_stops[rule] for slot, (rule, _) in enumerate(self.lengths)], np.int64
        )  # fmt: skip
        self._late = np.zeros(len(self.lengths), np.uint64)
        self._late_points = np.zeros(len(rules), np.int64)
        self._forgotten = np.zeros(len(rules), np.int64)
        longest = max(length for _, length in self.lengths)
        self._forget_ms = int(max(settings.forget_after, settings.stale_after) * 1000) + longest

    def slots_of(self, rule: int) -> range:
        """Slots of a rule, shortest length first."""
        return range(int(self.slot_stops[rule]), int(self.slot_stops[rule + 1]))

    def slot(self, name: str, length_ms: int) -> tuple[int, int] | None:
        """Rule and slot of a length; None: there is no such rule or length."""
        for slot, (rule, length) in enumerate(self.lengths):
            if length == length_ms and self.settings.rules[rule].name == name:
                return rule, slot
        return None

    @property
    def bytes(self) -> int:
        """What is reserved for all of that."""
        groups, streams = self.groups, self.streams
        arrays = (groups.table, groups.heads, groups.names.texts, streams.table)
        indices = (groups.index, streams.index)
        return (
            self.store.bytes
            + sum(array.nbytes for array in arrays)
            + sum(index.keys.nbytes + index.places.nbytes for index in indices)
        )

    def _help(self, why: int, left: int, right: int) -> None:
        """So that a kernel that stopped can go on."""
        if why == BOUNDS:
            self.bounds.meet(left, right)
        else:
            self.store.grow()

    @property
    def _registry(self) -> tuple[Any, ...]:
        return self.bounds.stops, self.bounds.bound, self.bounds.meetings

    # --- what comes --------------------------------------------------------------------------

    def add(self, cells: Points, points: Points) -> None:
        """Add cells to their windows, and let points wait for their turn."""
        first = 0
        while first < len(cells):
            first, why, left, right = merge_cells(
                cells.cells, first, cells.index, cells.negative, cells.count, *self.store.arrays,
                self.groups.heads, self.groups.table, self.slot_stops, self.slots, self._late,
                self._registry,
            )  # fmt: skip
            if why != DONE:
                self._help(why, left, right)
        if len(points):
            rule = self.groups.table["rule"][points.cells["group"]]
            # The shortest windows go ahead; a longer one can have been closed before its time.
            horizon = self.slots[self.slot_stops[:-1], CLOSED]
            latest = np.maximum.reduceat(self.slots[:, CLOSED], self.slot_stops[:-1])
            horizon = np.where(horizon == NEVER, latest, horizon)
            late = points.cells["time"] < horizon[rule]
            if late.any():
                np.add.at(self._late_points, rule[late], 1)
                points = points.take(~late)
            self.streams.wait(points, self.groups)

    # --- closing -------------------------------------------------------------------------------

    def begins(self, rule: int, slot: int) -> Iterable[int]:
        """Where windows of a slot begin that have something in them."""
        used = self.store.used_rows
        found = set(np.unique(used["start"][used["slot"] == slot]).tolist())
        length = int(self.slots[slot, LENGTH])
        times = self.streams.times(rule, self.groups)
        return found | set(np.unique(times // length * length).tolist())

    def reach(self, rule: int, slot: int, end_ms: int) -> None:
        """Take the cumulative points of a rule up to the end of a window that is to be closed.

        No further than the shortest windows are closed: what comes of a stream after that is not
        late for them.
        """
        shortest = int(self.slot_stops[rule])
        begin_ms = end_ms - int(self.slots[slot, LENGTH])
        if slot != shortest:
            end_ms = min(end_ms, int(self.slots[shortest, CLOSED]))
        if end_ms == NEVER:
            return
        slots = (self.slot_stops, self.slots)
        self.streams.apply(
            rule, end_ms, begin_ms, self.groups, self.store, self.bounds, slots, self._late,
            self._help,
        )  # fmt: skip

    def close(self, rule: int, slot: int, end_ms: int) -> None:
        """Give up a window that was emitted, and groups that have said nothing for long."""
        rows = self.store.of_window(slot, end_ms - int(self.slots[slot, LENGTH]))
        close_rows(rows, self.slot_places[slot], *self.store.arrays, self.groups.heads)
        self.slots[slot, CLOSED] = end_ms
        if slot == self.slot_stops[rule]:
            self._forget(rule, end_ms)

    def _forget(self, rule: int, end_ms: int) -> None:
        groups = self.groups.rows
        gone = (groups["rule"] == rule) & (groups["last_ms"] < end_ms - self._forget_ms)
        if not gone.any():
            return
        gone &= (groups["points"] == 0) & (self.groups.heads[: len(groups)] < 0).all(axis=1)
        count = int(gone.sum())
        # All is put in new places: rarely, but for the limit's sake.
        full = self.groups.in_rule[rule] >= self.settings.cardinality_limit
        if count and (full or count * 8 >= len(groups)):
            self._forgotten[rule] += count
            self.forget(gone)

    def forget(self, gone: NDArray[np.bool_]) -> None:
        """Forget groups without open windows, with everything that is known of them."""
        streams = self.streams
        if len(streams):
            of_gone = gone[streams.rows["group"]]
            if of_gone.any():
                streams.forget(of_gone, self.groups, self.store)
        totals = self.groups.rows["cumulative"][gone].astype(np.int64)
        self.store.free(totals[totals >= 0])
        mapped = self.groups.forget(~gone)
        used = self.store.used_rows
        live = self.store.rows()
        used["group"][live] = mapped[used["group"][live]]
        streams.rows["group"] = mapped[streams.rows["group"]]
        for points in streams.waiting:
            points.cells["group"] = mapped[points.cells["group"]]
        self.relist()

    def relist(self) -> None:
        """Make the groups' lists anew."""
        used = self.store.used_rows
        lists(self.store.accumulators, len(used), self.groups.heads, self.slot_places)

    def forced(self, most: int) -> tuple[dict[int, int], int]:
        """Up to where windows of each slot must be closed so that not more than ``most`` are open.

        What is counted are cells and points that wait. The oldest windows go first, of those that
        are not over by what has come the longest: of shorter ones there would be no end. Second:
        how many windows that are.
        """
        excess = self.store.open + self.streams.count_waiting() - most
        if excess <= 0:
            return {}, 0
        used = self.store.used_rows
        used = used[used["slot"] >= 0]
        slots = [used["slot"].astype(np.int64)]
        stops = [used["start"] + self.slots[slots[0], LENGTH]]
        for points in self.streams.waiting:
            shortest = self.slot_stops[self.groups.table["rule"][points.cells["group"]]]
            lengths = self.slots[shortest, LENGTH]
            slots.append(shortest)
            stops.append(points.cells["time"] // lengths * lengths + lengths)
        keys = np.concatenate(slots) << 48 | np.concatenate(stops)
        windows, counts = np.unique(keys, return_counts=True)
        newest = int(self.groups.rows["last_ms"].max())
        places, ends = windows >> 48, windows & ((1 << 48) - 1)
        over = ends <= newest
        order = np.lexsort((ends, np.where(over, 0, -self.slots[places, LENGTH]), ~over))
        until: dict[int, int] = {}
        number = 0
        for at in order.tolist():
            if excess <= 0:
                break
            until[int(places[at])] = max(until.get(int(places[at]), 0), int(ends[at]))
            excess -= int(counts[at])
            number += 1
        return until, number

    # --- counts --------------------------------------------------------------------------------

    def open_windows(self) -> int:
        """How many have something in them."""
        used = self.store.used_rows
        rows = used["slot"] >= 0
        slots, starts = used["slot"][rows].astype(np.int64), used["start"][rows]
        return len(np.unique(slots << 48 | starts))

    def count(self, counts: WindowCounts | None) -> None:
        """Move what was noted since the last time into counts; None: forget it."""
        streams, noted = self.streams, self.streams.counters
        if counts is not None:
            names = [rule.name for rule in self.settings.rules]
            lengths = [(names[rule], length) for rule, length in self.lengths]
            _add(counts.late, lengths, self._late)
            _add(counts.late, [(name, 0) for name in names], self._late_points)
            _add(counts.forgotten_groups, names, self._forgotten)
            _add(counts.overflow, names, self.groups.overflowed)
            _add(counts.type_changes, names, self.groups.changed)
            counts.resets += int(noted[RESET])
            counts.gaps += int(noted[GAP])
            counts.overlaps += int(noted[OVERLAP])
            counts.duplicates += int(noted[DUPLICATE])
            counts.bounds_changes += int(noted[BOUNDS_CHANGED])
            counts.new_streams += int(noted[NEW])
            counts.forgotten_streams += streams.forgotten
            counts.refused_bounds += self.bounds.refused
        for array in (
            self._late, self._late_points, self._forgotten, noted, self.groups.overflowed,
            self.groups.changed,
        ):  # fmt: skip
            array[:] = 0
        streams.forgotten = self.bounds.refused = 0


def _add(counter: Counter[Any], names: list[Any], values: NDArray[Any]) -> None:
    for at in np.flatnonzero(values).tolist():
        counter[names[at]] += int(values[at])
