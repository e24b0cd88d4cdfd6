"""The table of series against a dictionary, through growth, forgetting and snapshots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.alerts.series import Description, Series, SeriesTable, Service

CHANNELS = [("spans", 10_000), ("logs", 60_000)]


def description(hashed: int) -> Description:
    service = Service("", f"service-{hashed % 300}")
    return Description(service, "m", (("k", hashed), ("l", 0.5)), hashed % 3)


def add(table: SeriesTable, hashes: list[int], channel: int = 0) -> list[int]:
    given_ = np.array(hashes, np.uint64)
    return table.add(given_, channel, lambda i: description(hashes[i])).tolist()


def find(table: SeriesTable, hashes: list[int]) -> tuple[list[int], list[int]]:
    numbers, unknown = table.find(np.array(hashes, np.uint64))
    return numbers.tolist(), unknown.tolist()


hashes_ = st.lists(st.integers(1, 40), min_size=1, max_size=12)
steps_ = st.lists(st.tuples(st.sampled_from(["find", "find", "forget", "again"]), hashes_))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(steps_, st.integers(1, 30))
def test_as_a_dictionary(steps: list[tuple[str, list[int]]], most: int) -> None:
    table, model = SeriesTable(most), dict[int, int]()
    for what, hashes in steps:
        if what == "again":
            restored = SeriesTable(most)
            restored.restore(table.columns())
            table = restored
            continue
        numbers, unknown = find(table, hashes)
        assert numbers == [model.get(each, -1) for each in hashes]
        new = list(dict.fromkeys(each for each in hashes if each not in model))
        assert [hashes[place] for place in unknown] == new
        if what == "forget":
            gone = [model.pop(each) for each in set(hashes) if each in model]
            table.forget(np.array(gone, np.int32))
            continue
        added = add(table, new, len(new) % 2)
        free = [n for n in range(most) if n not in model.values()]
        assert added == free[: len(new)], "the least first"
        model |= dict(zip(new, added, strict=False))
        assert len(table) == len(model) <= most
        for each, number in zip(new, added, strict=False):
            window, length_ms = CHANNELS[len(new) % 2]
            service, metric, attributes, _ = description(each)
            wanted = Series(window, length_ms, *service, metric, attributes)
            assert table.describe(number, CHANNELS) == wanted
    for each, number in model.items():
        assert number in table.of_service(int(table.service[number]))
        assert table.hash[number] == each


def test_growth_and_services_that_come_and_go() -> None:
    table = SeriesTable(10_000)
    hashes = list(range(1, 5001))
    assert add(table, hashes) == list(range(5000))
    assert find(table, hashes) == (list(range(5000)), [])
    table.forget(np.arange(10, 5000, dtype=np.int32))
    assert len(table) == 10
    # Names of services are forgotten, too.
    assert table.columns()["services"].size < 1000
    assert table.describe(3, CHANNELS).service == "service-4"
    assert add(table, hashes[10:300], 1) == list(range(10, 300))
    assert table.of_channel(0).tolist() == list(range(10))
    assert table.of_channel(1).tolist() == list(range(10, 300))
    assert table.describe(20, CHANNELS).service == "service-21"


def test_hashes_that_fall_on_the_same_place() -> None:
    table = SeriesTable(100)
    hashes = [(i << 40) + (i << 8) for i in range(1, 60)]
    assert add(table, hashes) == list(range(59))
    assert find(table, hashes)[0] == list(range(59))


def test_what_is_forgotten_has_no_description() -> None:
    table = SeriesTable(5)
    add(table, [7])
    table.forget(np.array([0], np.int32))
    with pytest.raises(KeyError):
        table.describe(0, CHANNELS)
