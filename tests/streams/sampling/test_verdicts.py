"""Decision steps as records of the log."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.sampling.columns import Traces
from streams.sampling.decider import Decider
from streams.sampling.records import VerdictRecord, decode
from streams.sampling.step import Step
from streams.sampling.verdicts import VerdictRecords
from tests.streams.sampling.some_traces import NOW_MS, budget, random_traces, sampling

POLICIES = ("p0", "default")


def decide(count: int, keys: int, seed: int = 1) -> tuple[Step, Traces]:
    rng = np.random.default_rng(seed)
    roots = rng.choice(np.array([0, 3, 1 << 63, 9], np.uint64), count)
    traces = random_traces(rng, count, keys, root_operation=roots)
    return Decider(sampling(budget(100)), 1).decide(traces, NOW_MS), traces


class Spelled:
    """Texts of a step's groups, and of how many they were asked for."""

    def __init__(self, step: Step, size: int = 12) -> None:
        self.keys, self.size, self.asked = step.groups.key, size, 0

    def text(self, key: int) -> str:
        return f"{key:x}é".rjust(self.size)[: self.size]

    def __call__(self, groups: NDArray[np.intp]) -> list[str]:
        self.asked += len(groups)
        return [self.text(key) for key in self.keys[groups].tolist()]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 400), st.integers(1, 60), st.sampled_from([3000, 8000, 500_000]))
def test_records_say_of_each_trace_what_was_decided(count: int, keys: int, max_bytes: int) -> None:
    step, traces = decide(count, keys)
    texts = Spelled(step)
    made = VerdictRecords("spans", 3, POLICIES, ("service",), max_bytes).make(step, traces, texts)
    at = 0
    for part, (_, rows, data) in enumerate(made):
        record = decode(data)
        assert isinstance(record, VerdictRecord)
        assert (record.part, record.parts, rows.start) == (part, len(made), at)
        at = rows.stop
        groups = step.verdicts.group[rows]
        assert len(record.groups.policy) == len(set(groups.tolist())), "none that it has no need of"
        for column in ("policy", "key", "share", "threshold", "probability"):
            found = getattr(record.groups, column)[record.traces.group]
            assert (found == getattr(step.groups, column)[groups]).all()
        assert (record.traces.kept == step.verdicts.kept[rows]).all()
        assert (record.decided.root_operation == traces.root_operation[rows]).all()
        assert 0 not in record.roots
        assert (np.diff(record.roots.astype(object)) > 0).all(), "equal bytes for equal steps"
        assert all(text == texts.text(key) for key, text in record.key_texts.items())
        if max_bytes == 500_000:
            assert record.key_texts.keys() == set(record.groups.key.tolist())
    assert at == count


@pytest.mark.parametrize(("size", "spelled"), [(12, 1000), (500, 120)])
def test_only_so_many_keys_are_spelled_out(size: int, spelled: int) -> None:
    step, traces = decide(4000, 100_000)
    texts = Spelled(step, size)
    ((record, _, _),) = VerdictRecords("spans", 3, POLICIES, (), 500_000).make(step, traces, texts)
    assert len(set(record.groups.key.tolist())) > 1000
    keys = list(dict.fromkeys(record.groups.key.tolist()))
    assert [*record.key_texts] == keys[: len(record.key_texts)]
    assert len(record.key_texts) == pytest.approx(spelled, abs=10)
    assert len(record.key_text) <= 500_000 // 8
    assert texts.asked == 1000
