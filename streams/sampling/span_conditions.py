"""Conditions of policies on spans, evaluated over a batch: a bit each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.config import AttributeMatch, Match, TextMatch
from schemas.config.matching import compile_regex
from streams.sampling.verdict_cache import VerdictCache
from streams.wire import SERVICE_NAME, Attribute, SpanScan, ValueKind, Values, hash64

__all__ = ["SpanConditions"]

_STATUS = {"unset": 0, "ok": 1, "error": 2}

Bools = NDArray[np.bool_]


class _Batch:
    """A batch, and what was found out about it so far."""

    def __init__(self, data: bytes, scan: SpanScan, values: Values | None) -> None:
        self.data = data
        self.scan = scan
        self.values = values
        self.verdicts: dict[int, NDArray[np.uint64]] = {}
        """By field (-1: the span's name): bits of the regular expressions."""


_Part = Callable[[_Batch], Bools]


class SpanConditions:
    """Compiled conditions; bit i of the result is condition i.

    Args:
        conditions: as ``schemas.config.matching.span_conditions`` gives them, at most 32.
        first_field: where ``attributes`` begin among the fields that are looked up.
        cache_max: distinct texts whose verdicts are remembered, per attribute.
    """

    def __init__(
        self, conditions: Sequence[Match], first_field: int = 0, cache_max: int = 10_000
    ) -> None:
        self.attributes: list[Attribute] = []
        """To be looked up, in this order; ``service.name`` among them if it is asked for."""
        self._first = first_field
        self._cache_max = cache_max
        self._patterns: dict[int, list[str]] = {}
        self._parts = [self._compile(condition) for condition in conditions]
        self._caches = {
            field: VerdictCache(_judge(patterns), cache_max)
            for field, patterns in self._patterns.items()
        }

    @property
    def judged(self) -> int:
        """Texts that regular expressions have looked at."""
        return sum(cache.judged for cache in self._caches.values())

    def of(self, data: bytes, scan: SpanScan, values: Values | None) -> NDArray[np.uint32]:
        """Bits of every span; ``values`` holds ``attributes`` from ``first_field`` on."""
        batch = _Batch(data, scan, values)
        result = np.zeros(scan.items, np.uint32)
        for bit, parts in enumerate(self._parts):
            held = parts[0](batch)
            for part in parts[1:]:
                held = held & part(batch)
            result |= held.astype(np.uint32) << np.uint32(bit)
        return result

    # --- compilation ---------------------------------------------------------------------

    def _compile(self, match: Match) -> list[_Part]:
        parts: list[_Part] = []
        if match.root:
            parts.append(_is_root)
        if match.status is not None:
            parts.append(_status([_STATUS[word] for word in match.status]))
        if match.operation is not None:
            parts.append(self._text(match.operation, -1))
        if match.service is not None:
            parts.append(self._text(match.service, self._field(SERVICE_NAME)))
        parts += [self._attribute(each) for each in match.attribute or ()]
        return parts

    def _field(self, attribute: Attribute) -> int:
        if attribute not in self.attributes:
            self.attributes.append(attribute)
        return self._first + self.attributes.index(attribute)

    def _text(self, match: TextMatch, field: int) -> _Part:
        if match.regex is not None:
            return self._regex(field, match.regex)
        return _one_of(field, [match.equals] if match.equals is not None else match.one_of or ())

    def _attribute(self, match: AttributeMatch) -> _Part:
        field = self._field(Attribute(match.where, match.key))
        if match.exists:
            return _exists(field)
        if match.regex is not None:
            return self._regex(field, match.regex)
        if match.min is not None or match.max is not None:
            return _between(field, match.min, match.max)
        return _scalars(field, [match.equals] if match.equals is not None else match.one_of or ())

    def _regex(self, field: int, pattern: str) -> _Part:
        patterns = self._patterns.setdefault(field, [])
        if pattern not in patterns:
            patterns.append(pattern)
        bit = np.uint64(1 << patterns.index(pattern))

        def holds(batch: _Batch) -> Bools:
            if field not in batch.verdicts:
                batch.verdicts[field] = self._judged(batch, field)
            result: Bools = (batch.verdicts[field] & bit) != 0
            return result

        return holds

    def _judged(self, batch: _Batch, field: int) -> NDArray[np.uint64]:
        cache, data = self._caches[field], batch.data
        if field < 0:
            return cache.of(batch.scan.name_hash, lambda row: batch.scan.span_name(data, row))
        values = _values(batch)
        texts = np.flatnonzero(values.kind[field] == ValueKind.STRING)
        result = np.zeros(batch.scan.items, np.uint64)
        result[texts] = cache.of(
            values.hash[field][texts], lambda row: values.text(data, field, int(texts[row]))
        )
        return result


def _judge(patterns: Sequence[str]) -> Callable[[str], int]:
    compiled = [compile_regex(pattern) for pattern in patterns]

    def judge(text: str) -> int:
        return sum(1 << i for i, regex in enumerate(compiled) if regex.search(text) is not None)

    return judge


def _values(batch: _Batch) -> Values:
    assert batch.values is not None  # noqa: S101 - who has attributes looks them up
    return batch.values


def _is_root(batch: _Batch) -> Bools:
    result: Bools = batch.scan.parent_span_id == 0
    return result


def _status(codes: Sequence[int]) -> _Part:
    return lambda batch: np.isin(batch.scan.status, codes)


def _one_of(field: int, texts: Iterable[str]) -> _Part:
    """A text by hash and size: equal hashes of equal size are taken for equal texts."""
    encoded = [text.encode() for text in texts]
    wanted = [(np.uint64(hash64(text)), len(text)) for text in encoded]

    def holds(batch: _Batch) -> Bools:
        hashes, sizes, texts = _texts(batch, field)
        result = np.zeros(batch.scan.items, np.bool_)
        for hashed, size in wanted:
            result |= (hashes == hashed) & (sizes == size)
        return result if texts is None else result & texts

    def holds_many(batch: _Batch) -> Bools:
        hashes, _, texts = _texts(batch, field)
        result = np.isin(hashes, many)
        return result if texts is None else result & texts

    many = np.array([hashed for hashed, _ in wanted], np.uint64)
    return holds if len(wanted) <= 4 else holds_many


def _texts(batch: _Batch, field: int) -> tuple[NDArray[np.uint64], NDArray[np.int32], Bools | None]:
    scan = batch.scan
    if field < 0:
        return scan.name_hash, scan.name_stop - scan.name_start, None
    values = _values(batch)
    is_text = values.kind[field] == ValueKind.STRING
    return values.hash[field], values.stop[field] - values.start[field], is_text


def _scalars(field: int, wanted: Sequence[Any]) -> _Part:
    """Texts, numbers and booleans, each equal only to its own kind; 2 and 2.0 are one number."""
    texts = [value for value in wanted if isinstance(value, str)]
    bools = [float(value) for value in wanted if isinstance(value, bool)]
    numbers = [
        float(value)
        for value in wanted
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    by_text = _one_of(field, texts)

    def holds(batch: _Batch) -> Bools:
        result = by_text(batch) if texts else np.zeros(batch.scan.items, np.bool_)
        kind, number = _values(batch).kind[field], _values(batch).number[field]
        if bools:
            result |= (kind == ValueKind.BOOL) & np.isin(number, bools)
        if numbers:
            result |= _is_number(kind) & np.isin(number, numbers)
        return result

    return holds


def _exists(field: int) -> _Part:
    def holds(batch: _Batch) -> Bools:
        result: Bools = _values(batch).kind[field] != ValueKind.ABSENT
        return result

    return holds


def _between(field: int, least: float | None, most: float | None) -> _Part:
    def holds(batch: _Batch) -> Bools:
        number = _values(batch).number[field]
        result = _is_number(_values(batch).kind[field])
        if least is not None:
            result &= number >= least
        if most is not None:
            result &= number <= most
        return result

    return holds


def _is_number(kind: NDArray[np.int8]) -> Bools:
    result: Bools = (kind == ValueKind.INT) | (kind == ValueKind.DOUBLE)
    return result
