"""Open windows as a snapshot holds them, and back; with rules that may be others by then."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from schemas.records import MalformedRecord

from .accumulators import ACCUMULATOR, CELL
from .cumulative import Points
from .increases import STREAM_ROW
from .merging import CLOSED, CUMULATIVE, GROUP
from .open_windows import OpenWindows
from .state import Dumped, dump, load
from .store import Buckets

__all__ = ["restore", "snapshot"]

_TABLES: dict[str, Any] = {
    "names": "u1", "texts": "u1", "bound_stops": "i8", "bound": "f8", "groups": GROUP,
    "accumulators": ACCUMULATOR, "stops": "i8", "index": "i4", "negative": "u1", "count": "u8",
    "stream_keys": "u8", "streams": STREAM_ROW, "points": CELL, "point_streams": "u8",
    "point_index": "i4", "point_negative": "u1", "point_count": "u8",
}  # fmt: skip


def _rules(windows: OpenWindows) -> list[list[Any]]:
    exports = windows.settings.temporality == "cumulative"
    return [
        [rule.name, rule.digest, rule.export_length_ms if exports else None]
        for rule in windows.settings.rules
    ]


def snapshot(windows: OpenWindows, said: dict[str, Any]) -> list[bytes]:
    """Everything, and what else is ``said``."""
    store, streams, bounds = windows.store, windows.streams, windows.bounds
    groups, texts, names = windows.groups.dump()
    rows, accumulators, buckets = store.dump()
    place = np.full(len(store.accumulators) + 1, -1, np.int32)  # the last one is for no row
    place[rows] = np.arange(len(rows), dtype=np.int32)
    groups["cumulative"] = place[groups["cumulative"]]
    stream_rows = streams.rows.copy()
    stream_rows["row"] = place[stream_rows["row"]]
    points = Points.joined(streams.waiting) if streams.waiting else Points.none()
    sets = len(bounds)
    tables = dict(
        zip(
            _TABLES,
            (
                np.frombuffer(json.dumps(names).encode(), np.uint8), texts, bounds.stops[:sets],
                bounds.bound[: bounds.stops[sets - 1]], groups, accumulators, *buckets,
                streams.index.keys[: len(streams)], stream_rows, points.cells, points.streams,
                points.index, points.negative, points.count,
            ),
            strict=True,
        )
    )  # fmt: skip
    said = said | {
        "rules": _rules(windows),
        "base": streams.base.tolist(),
        "lengths": windows.lengths,
        "closed": windows.slots[:, CLOSED].tolist(),
    }
    return dump(Dumped(said, tables))


def restore(windows: OpenWindows, chunks: Iterable[bytes]) -> tuple[dict[str, Any], int]:
    """Take over what ``snapshot`` gave. Raises MalformedRecord.

    Gives what else was said, and how many groups were dropped: their rule is gone or changed.
    """
    state = load(chunks, _TABLES)
    try:
        return state.said, _restore(windows, state)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise MalformedRecord(f"a state of windows that does not fit together: {error}") from None


def _restore(windows: OpenWindows, state: Dumped) -> int:
    said, tables = state.said, dict(state.tables)
    old, new = said["rules"], _rules(windows)
    own = {(name, digest): place for place, (name, digest, _) in enumerate(new)}
    of_rule = np.array([own.get((name, digest), -1) for name, digest, _ in old], np.int32)
    # What is summed up of windows of another length would count twice, or not at all.
    totals_kept = np.array(
        [at >= 0 and old[i][2] is not None and old[i][2] == new[at][2]
         for i, at in enumerate(of_rule.tolist())],
        np.bool_,
    )  # fmt: skip
    slots = {(rule, length): slot for slot, (rule, length) in enumerate(windows.lengths)}
    of_slot = np.array(
        [slots.get((int(of_rule[rule]), length), -1) for rule, length in said["lengths"]], np.int32
    )
    for slot, closed in zip(of_slot.tolist(), said["closed"], strict=True):
        if slot >= 0:
            windows.slots[slot, CLOSED] = closed
    for rule, base in zip(of_rule.tolist(), said["base"], strict=True):
        if rule >= 0:
            windows.streams.base[rule] = base
    windows.bounds.load(tables["bound_stops"], tables["bound"])
    groups, rows = tables["groups"], tables["accumulators"]
    keep = of_rule[groups["rule"]] >= 0
    _place_rows(rows, groups, keep, of_slot, totals_kept)
    tenants, services, shapes = json.loads(tables["names"].tobytes())
    _load_groups(windows, tables, keep, of_rule, (tenants, services, shapes))
    mapped = np.full(len(keep) + 1, -1, np.int32)
    mapped[:-1][keep] = np.arange(int(keep.sum()), dtype=np.int32)
    windows.store.load(
        rows,
        Buckets(tables["stops"], tables["index"], tables["negative"], tables["count"]),
        windows.bounds.stops,
    )
    used = windows.store.used_rows
    gone = np.flatnonzero(used["slot"] == _GONE)
    used["group"] = mapped[used["group"]]
    windows.store.free(gone.astype(np.int64))
    streams = tables["streams"]
    known = keep[streams["group"]] if len(streams) else np.zeros(0, np.bool_)
    streams["group"] = mapped[streams["group"]]
    windows.streams.load(tables["stream_keys"][known].copy(), streams[known].copy())
    points = Points(
        tables["points"], *(tables[f"point_{each}"] for each in
                            ("streams", "index", "negative", "count"))
    )  # fmt: skip
    points.cells["group"] = mapped[points.cells["group"]]
    points = points.take(points.cells["group"] >= 0)
    windows.streams.waiting = [points] if len(points) else []
    windows.relist()
    return int((~keep).sum())


_GONE = -127


def _place_rows(rows: Any, groups: Any, keep: Any, of_slot: Any, totals_kept: Any) -> None:
    """Slots as they are now; _GONE where there is none."""
    open_rows = rows["slot"] >= 0
    rows["slot"][open_rows] = of_slot[rows["slot"][open_rows]]
    rows["slot"][rows["slot"] == -1] = np.where(open_rows[rows["slot"] == -1], _GONE, CUMULATIVE)
    unwanted = ~totals_kept[groups["rule"]]
    totals = groups["cumulative"][unwanted]
    rows["slot"][totals[totals >= 0]] = _GONE
    groups["cumulative"][unwanted] = -1
    rows["slot"][~keep[rows["group"]]] = _GONE


def _load_groups(windows: OpenWindows, tables: Any, keep: Any, of_rule: Any, names: Any) -> None:
    tenants, services, shapes = names
    groups = tables["groups"]
    used = sorted({int(shape) for shape in groups["shape"][keep]})
    place = {shape: at for at, shape in enumerate(used)}
    kept = groups[keep].copy()
    kept["shape"] = [place[int(shape)] for shape in kept["shape"]]
    kept["rule"] = of_rule[kept["rule"]]
    now = [(int(of_rule[shapes[shape][0]]), *shapes[shape][1:]) for shape in used]
    windows.groups.load((kept, tables["texts"], (tenants, services, now)))
