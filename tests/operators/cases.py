"""The operators of this project, and what the battery tries them with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from hypothesis import strategies as st

from schemas.batches import Batch, Record
from schemas.operators import Snapshots, Source
from schemas.signals import Signal
from streams import wire
from streams.shaping import PassThrough
from tests.operators import deciding, gathering, quoting
from tests.operators.battery import PARTITION, Adjust, Case
from tests.operators.counting import Counting, read, scan
from tests.operators.detecting import DETECTING
from tests.operators.partials import PARTIALS
from tests.operators.sampling import SAMPLING
from tests.operators.windowing import WINDOWS
from tests.strategies import requests

__all__ = ["CASES"]


def _counted(batches: Sequence[Batch], visible: Sequence[Record]) -> None:
    """Each record tells exactly what came before its ``next``; none tells it again."""
    told = [read(record.value) for record in visible]
    assert [counted.next for counted in told] == sorted({counted.next for counted in told})
    for counted in told:
        keys = [key for b in batches if b.offset < counted.next for key in scan("", b.value)]
        assert counted.items == len(keys)
        assert counted.counts == {key: keys.count(key) for key in keys}


def _counting() -> Iterator[Case]:
    words = st.lists(st.sampled_from("abcd"), max_size=3).map(lambda keys: " ".join(keys).encode())
    for name, make in (("snapshot", Counting.by_snapshot), ("replay", Counting.by_replay)):
        yield Case(
            f"counting by {name}",
            partial(make, "counts"),
            words,
            st.just(b"!"),
            holds=_counted,
            changed=partial(make, "counts", every=2),
            size=lambda operator: len(operator.counts),
            size_max=4,
        )
        yield Case(
            f"counting few keys by {name}",
            partial(make, "counts", keys_max=2),
            words,
            st.just(b"!"),
            scan=scan,
            size=lambda operator: len(operator.counts),
            size_max=3,
        )


def _decided(batches: Sequence[Batch], visible: Sequence[Record]) -> None:
    """Everything once and in order, under numbers without gap; the last few may wait."""
    told = [deciding.read(record.value) for record in visible]
    assert [decision.number for decision in told] == list(range(len(told)))
    keys = [key for decision in told for key in decision.keys]
    assert keys == [b.value.decode() for b in batches][: len(keys)]


def _deciding() -> Iterator[Case]:
    kinds: tuple[Snapshots, ...] = ("state", "log")
    for kind in kinds:
        make = partial(deciding.Deciding, "deciding", "decided", PARTITION, snapshots=kind)
        yield Case(
            f"deciding by {kind}",
            make,
            st.sampled_from([b"a", b"b", b"c"]),
            st.just(b"!"),
            holds=_decided,
            changed=partial(make, every=2),
            adjustments=st.builds(Adjust, st.just(deciding.EVERY), st.sampled_from([1, 3, 7])),
            size=lambda operator: len(operator.waiting),
            size_max=7,
        )


def _gathered(batches: Sequence[Batch], visible: Sequence[Record]) -> None:
    keys = [key for record in visible for key in gathering.read(record.value).keys]
    assert keys == [b.value.decode() for b in batches]


def _gathering() -> Iterator[Case]:
    def together(records: Sequence[Record]) -> list[str]:
        return [key for record in records for key in gathering.read(record.value).keys]

    yield Case(
        "gathering",
        partial(gathering.Gathering, "gathered", PARTITION),
        st.sampled_from([b"a", b"b", b"c"]),
        st.just(b"!"),
        holds=_gathered,
        together=together,
        size=lambda operator: len(operator.keys),
        size_max=4,
    )


def _quoted(batches: Sequence[Batch], visible: Sequence[Record]) -> None:
    assert [quoting.read(record.value).offset for record in visible] == [
        batch.offset for batch in batches if b"-" in batch.value
    ]


def _quoting() -> Iterator[Case]:
    there = [Batch(quoting.QUOTED, PARTITION, n, 0, None, b"%d" % n, ()) for n in range(3, 9)]

    def source(named: tuple[int, int] | None) -> Source | None:
        if named is None:
            return None
        start, stop = named
        removed = max(0, min(3, stop) - start) + max(0, stop - max(9, start))
        return Source(removed, [each for each in there if start <= each.offset < stop])

    yield Case(
        "quoting",
        lambda: quoting.Quoting("quotes"),
        st.sampled_from([b"3-5", b"5-5", b"0-4", b"7-12", b"none"]),
        st.just(b"!"),
        scan=lambda _topic, value: quoting.named(value),
        source=source,
        holds=_quoted,
        examples=50,
    )


def _passed(batches: Sequence[Batch], visible: Sequence[Record]) -> None:
    assert [(r.value, r.partition, r.headers) for r in visible] == [
        (b.value, b.partition, b.headers) for b in batches if b.value
    ]


def _passing() -> Iterator[Case]:
    for signal in Signal:
        yield Case(
            f"pass through {signal}",
            lambda: PassThrough("out", 1 << 20),
            _few(signal),
            st.sampled_from([b"\n", b"\xff", b"\x08\x01"]),
            scan=lambda _topic, value, signal=signal: wire.scan(signal, value, strict_ids=False),  # type: ignore[misc]
            holds=_passed,
            steps_max=8,
            examples=25,
        )


def _few(signal: Signal) -> st.SearchStrategy[bytes]:
    """Requests with items, made by the protobuf library."""
    drawn = requests(signal).map(lambda message: message.SerializeToString())
    return drawn.filter(lambda value: wire.scan(signal, value).items > 0)


CASES = [
    *(*_counting(), *_deciding(), *_gathering(), *_quoting(), *_passing()),
    *(*SAMPLING, *DETECTING, *PARTIALS, *WINDOWS),
]
