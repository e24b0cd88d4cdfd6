"""Journal records, snapshots in pieces, and where a lane goes on: bytes and numbers only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.batches import Record
from schemas.errors import MalformedMessage
from topologies.runtime.decision import Decision, Found, decide
from topologies.runtime.draft import Draft
from topologies.runtime.hosted import HostedOperator, SnapshotWriter
from topologies.runtime.journal import (
    OperatorProgress,
    Progress,
    SnapshotPlace,
    pieces,
    snapshot_key,
    unframed,
)

from .memory import Upper

offsets = st.integers(0, 2**63 - 1)
places = st.builds(
    SnapshotPlace,
    **dict.fromkeys(SnapshotPlace._fields, offsets),
) .map(lambda place: place._replace(digest="ab"))  # fmt: skip
progresses = st.builds(
    Progress,
    position=offsets,
    watermark_ms=offsets,
    written_ms=offsets,
    operators=st.dictionaries(
        st.text(max_size=5),
        st.builds(
            OperatorProgress,
            began=offsets,
            began_log=st.none() | offsets,
            replay_from=st.none() | offsets,
            log_position=st.none() | offsets,
            snapshot=st.none() | places,
            slots=st.tuples(offsets, offsets),
        ),
        max_size=3,
    ),
)


@given(progresses)
def test_progress_comes_back(progress: Progress) -> None:
    assert Progress.decode(progress.encode()) == progress


@given(st.binary(max_size=30))
def test_what_is_no_progress_is_malformed(value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Progress.decode(value)


def test_progress_of_another_version_is_malformed() -> None:
    value = Progress(1, 2, 3, {}).encode().replace(b'"version":1', b'"version":2')
    with pytest.raises(MalformedMessage, match="version 2"):
        Progress.decode(value)


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 30))
def test_chunks_come_back_from_pieces(chunks: list[bytes], size: int) -> None:
    parts = list(pieces(chunks, size))
    assert parts
    assert all(len(part) == size for part in parts[:-1])
    assert len(parts[-1]) <= size
    assert list(unframed(parts)) == chunks
    if chunks and chunks[-1]:
        with pytest.raises(MalformedMessage):
            list(unframed([*parts[:-1], parts[-1][:-1]]))


def progress(position: int) -> Progress:
    return Progress(position, 0, 0, {})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Found(progress(7), 7, 0, 9), Decision("resume", 7)),
        (Found(progress(7), None, 0, 9), Decision("resume", 7)),
        (Found(progress(7), 3, 0, 9), Decision("reset", 3)),
        (Found(progress(7), 9, 0, 9), Decision("reset", 9)),
        (Found(None, 5, 0, 9), Decision("journal lost", 5)),
        (Found(None, None, 2, 9), Decision("first", 2)),
        (Found(progress(7), 7, 8, 9), Decision("resume", 8, lost=1)),
        (Found(progress(7), 3, 5, 9), Decision("reset", 5, lost=2)),
        (Found(progress(7), 7, 0, 4), Decision("log replaced", 0)),
        (Found(None, 7, 1, 4), Decision("log replaced", 1)),
    ],
)
def test_where_a_lane_goes_on(found: Found, expected: Decision) -> None:
    assert decide(found, "earliest") == expected


def test_a_first_start_at_the_latest() -> None:
    assert decide(Found(None, None, 2, 9), "latest") == Decision("first", 9)


def test_log_positions_hold_everything_since_the_replay() -> None:
    """Whatever was decided after everything before ``replay_from`` lies at or after it."""

    class Logging(Upper):
        log_topic = "log"

    hosted = HostedOperator(Logging(), "in", 0, 5)
    assert hosted.log_position(0) == 5
    hosted.replay_from = 0
    for position, log_end in ((10, 7), (20, None), (30, 9)):
        hosted.committed(position, log_end)
    assert hosted.log_position(30) == 5
    hosted.replay_from = 15
    assert hosted.log_position(30) == 7
    hosted.replay_from = 29
    assert hosted.log_position(30) == 7
    hosted.replay_from = None
    assert hosted.log_position(30) == 9


def test_a_shorter_snapshot_blanks_what_a_longer_one_left() -> None:
    operator = Upper()
    operator.pieces = 5
    hosted = HostedOperator(operator, "in", 0, None)

    def write(position: int) -> list[Record]:
        writer = SnapshotWriter(
            hosted, topic="in", journal="j", partition=0, position=position, taken_ms=9
        )
        found, last = [], False
        while not last:
            records, last = writer.take(1)
            writer.written([position + len(found)], last=last)
            found += records
        return found

    assert [r.key for r in write(100)] == [snapshot_key("in", "upper", 0, n) for n in range(4)]
    assert hosted.snapshot is not None
    assert (hosted.snapshot.first, hosted.snapshot.last, hosted.snapshot.pieces) == (100, 103, 4)
    write(200)
    assert hosted.slots == [4, 4]
    operator.pieces = 1
    short = write(300)
    assert [(r.key, bool(r.value)) for r in short] == [
        *[(snapshot_key("in", "upper", 0, n), False) for n in (1, 2, 3)],
        (snapshot_key("in", "upper", 0, 0), True),
    ]
    assert hosted.slots == [1, 4]
    assert hosted.snapshot.pieces == 1


def test_a_draft_leaves_records_of_a_log_apart() -> None:
    """Recovery gives them back to the operator one by one."""
    draft = Draft(0, 0, 100, frozenset({"log"}))
    draft.add(
        [Record("log", b"1", 0), Record("log", b"2", 0), Record("o", b"3"), Record("o", b"4")]
    )
    assert [record.value for record in draft.records()] == [b"1", b"2", b"34"]


def test_a_draft_joins_what_may_be_joined() -> None:
    draft = Draft(0, 0, 10)
    tenant = (("tenant", b"a"),)
    draft.add([Record("o", b"1111", 0), Record("o", b"22", 1), Record("o", b"33", 0)])
    draft.add([Record("o", b"44444", 0), Record("o", b"5", 0, None, tenant), Record("o", b"6", 0)])
    draft.add([Record("o", b"7", 0), Record("o", b"8", 0, b"key")])
    assert [(r.value, r.partition) for r in draft.records()] == [
        (b"111133", 0), (b"22", 1), (b"44444", 0), (b"5", 0), (b"67", 0), (b"8", 0),
    ]  # fmt: skip
