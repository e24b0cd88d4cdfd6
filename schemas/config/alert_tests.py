"""Files of ``otlp-streams alerts test``: input series, and which alerts follow from them.

In the manner of ``promtool test rules``, whose words they use; what differs comes from windows:
the i-th value of a series is that of the i-th window, which ends i times its length after 0.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple, Self, cast, get_args

from pydantic import BeforeValidator, Field, model_validator

from .alerts import AlertRule, Quantity, Statistic
from .base import Settings
from .units import Duration
from .windows import Windows

__all__ = [
    "STALE", "AlertCheck", "AlertTest", "AlertTests", "Expected", "ExpectedRange", "InputSeries",
    "SeriesName", "expand",
]  # fmt: skip

STALE = "stale"
"""The series is gone from this window on."""
_VALUES_MAX = 100_000
_ONE = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_SERIES_OF = re.compile(
    rf"(?P<first>{_ONE})(?:(?P<step>[-+]{_ONE.removeprefix('[-+]?')}))?x(?P<times>\d+)"
)
_PLAIN = re.compile(rf"{_ONE}|[-+]?[Ii]nf|[Nn]a[Nn]")
_GAP = re.compile(r"_(?:x(\d+))?")
_NAME = re.compile(
    r"(?P<window>[A-Za-z0-9][A-Za-z0-9_-]*)\.(?P<statistic>[a-z0-9_]+)\s*(?P<labels>\{.*\})?"
)
_LABEL = re.compile(r'\s*([^\s=,{}"]+)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_ESCAPED = re.compile(r"\\(.)")


def expand(text: str) -> tuple[float | str | None, ...]:
    """Values in promtool's notation; None: a window without anything; STALE.

    ``1 2.5`` are themselves, ``1+2x3`` is 1 3 5 7, ``9-2x2`` is 9 7 5, ``4x2`` is 4 4 4, ``_`` is
    none, ``_x3`` none three times. Raises ValueError.
    """
    values: list[float | str | None] = []
    for word in text.split():
        values += _expanded(word)
        if len(values) > _VALUES_MAX:
            raise ValueError(f"more than {_VALUES_MAX} values")
    return tuple(values)


def _expanded(word: str) -> list[float | str | None]:
    if word == STALE:
        return [STALE]
    if gap := _GAP.fullmatch(word):
        return [None] * _times(gap[1] or "1")
    if _PLAIN.fullmatch(word):
        return [float(word)]
    found = _SERIES_OF.fullmatch(word)
    if found is None:
        raise ValueError(f"{word!r} is none of a, axN, a+bxN, a-bxN, _, _xN, {STALE}")
    first, step = float(found["first"]), float(found["step"] or 0)
    return [first + i * step for i in range(_times(found["times"]) + 1)]


def _times(text: str) -> int:
    if len(text) > 6 or int(text) > _VALUES_MAX:
        raise ValueError(f"more than {_VALUES_MAX} values")
    return int(text)


class SeriesName(NamedTuple):
    """``WINDOW.STATISTIC{KEY="VALUE", ...}``."""

    window: str
    statistic: Statistic
    labels: tuple[tuple[str, str], ...]


def _series_name(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _NAME.fullmatch(value.strip())
    if found is None:
        raise ValueError('a series is WINDOW.STATISTIC{KEY="VALUE", ...}')
    possible = get_args(Statistic)
    if found["statistic"] not in possible:
        raise ValueError(f"{found['statistic']} is not one of {', '.join(possible)}")
    labels: dict[str, str] = {}
    inner = (found["labels"] or "{}")[1:-1].strip()
    at = 0
    while at < len(inner):
        label = _LABEL.match(inner, at)
        if label is None:
            raise ValueError(
                f'labels are KEY="VALUE" with commas between, not {inner[at : at + 40]}'
            )
        if label[1] in labels:
            raise ValueError(f"label {label[1]} stands there twice")
        labels[label[1]] = _ESCAPED.sub(r"\1", label[2])
        at = label.end()
    statistic = cast(Statistic, found["statistic"])  # it is one of the possible ones
    return SeriesName(found["window"], statistic, tuple(sorted(labels.items())))


def _values(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (float(value),)
    return expand(value) if isinstance(value, str) else value


class ExpectedRange(Settings):
    """What detection expects; a value outside is as strange as can be, one inside is not."""

    low: Quantity
    """Least value."""
    high: Quantity
    """Greatest value."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is more than high")
        return self


class InputSeries(Settings):
    """One statistic of one series."""

    series: Annotated[SeriesName, BeforeValidator(_series_name)]
    """WINDOW.STATISTIC{KEY="VALUE", ...}: service, tenant, metric and attributes of the group."""
    values: Annotated[tuple[float | Literal["stale"] | None, ...], BeforeValidator(_values)]
    """By window: numbers, a+bxN, a-bxN, axN; `_` and `_xN` for windows without anything; stale."""
    length: Duration | None = Field(default=None, gt=0)
    """Of the windows; unset: `interval` of the test."""
    expected: ExpectedRange | None = None
    """What detection expects of it, for rules about anomalies; unset: it is still learning."""


class Expected(Settings):
    """One alert."""

    state: Literal["pending", "firing", "no_data"] = "firing"
    """Its state; pending alerts are looked at only where one is expected."""
    exp_labels: dict[str, str] = Field(default={}, max_length=100)
    """Its labels, all of them, but for alertname."""
    exp_annotations: dict[str, str] | None = None
    """Its annotations, all of them; unset: any."""


class AlertCheck(Settings):
    """Alerts of a rule at a time."""

    eval_time: Duration = Field(ge=0)
    """After all windows that have ended by then."""
    alertname: str
    """The rule's name."""
    exp_alerts: tuple[Expected, ...] = ()
    """Which alerts there are; none: there is no alert."""


class AlertTest(Settings):
    """Input, and checks of it."""

    name: str = ""
    """What it is called in messages."""
    interval: Duration = Field(default=10.0, gt=0)
    """Length of the windows of input series."""
    input_series: tuple[InputSeries, ...] = Field(min_length=1)
    """What comes out of windows."""
    alert_rule_test: tuple[AlertCheck, ...] = ()
    """What follows."""


class AlertTests(Settings):
    """A file of tests."""

    rule_files: tuple[str, ...] = ()
    """Files with rules, from this one's directory."""
    rules: tuple[AlertRule, ...] = ()
    """Rules here."""
    builtin: bool = False
    """Whether the built-in rules run, too."""
    windows: Windows = Windows()
    """What is aggregated, as in a configuration."""
    tests: tuple[AlertTest, ...] = Field(min_length=1)
    """The tests."""
