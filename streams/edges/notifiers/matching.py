"""Which labels matchers mean, and what silences make of it. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from schemas.config.labels import LabelMatcher, parse_matcher
from schemas.config.matching import compile_regex
from schemas.records.silences import Silence

__all__ = ["Labels", "Matching", "Muting"]

Labels = Mapping[str, str]


class Matching:
    """Matchers that must all hold; a label that is not there is empty."""

    def __init__(self, matchers: Iterable[str]) -> None:
        """From their texts. Raises ValueError."""
        self._conditions = [_condition(parse_matcher(text)) for text in matchers]

    def __call__(self, labels: Labels) -> bool:
        """Whether they do."""
        return all(holds(labels) for holds in self._conditions)


def _condition(matcher: LabelMatcher) -> Callable[[Labels], bool]:
    name, wanted = matcher.name, matcher.value
    if "~" not in matcher.op:
        equal = matcher.op == "="
        return lambda labels: (labels.get(name, "") == wanted) is equal
    expression, found = compile_regex(wanted), matcher.op == "=~"
    return lambda labels: (expression.fullmatch(labels.get(name, "")) is not None) is found


class _Compiled(NamedTuple):
    silence: Silence
    matching: Matching
    starts_s: float
    ends_s: float


class Muting:
    """Silences, ready to be asked."""

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        self._compiled = [
            _Compiled(
                each, Matching(each.matchers), each.starts_at.timestamp(), each.ends_at.timestamp()
            )
            for each in silences
        ]

    def __call__(self, labels: Labels, at_s: float) -> bool:
        """Whether an alert with these labels is silenced at that time (Unix seconds)."""
        return any(
            each.starts_s <= at_s < each.ends_s and each.matching(labels) for each in self._compiled
        )

    def active(self, at_s: float) -> int:
        """Silences that are in force at that time."""
        return sum(each.starts_s <= at_s < each.ends_s for each in self._compiled)
