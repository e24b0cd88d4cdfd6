"""Whether alert rules name what there is: windows, lengths, statistics, attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .alerts import PIPELINE_STALLED, AlertRule, SeriesMatch, WindowStatistic
from .problems import Location, Problem, nearest
from .templates import parse
from .units import format_duration
from .windows import WindowRule, Windows, attribute_name

__all__ = ["RULES", "check_rules", "check_statistic"]

RULES: Location = ("alerts", "rules")
"""Where rules stand in a configuration."""
_OF_SIGNAL = {
    "spans": ("count", "errors", "sum", "min", "max", "p50", "p90", "p99", "rate", "average",
              "error_ratio", "strangeness"),
    "logs": ("count", "rate"),
    "metrics": ("count", "sum", "min", "max", "p50", "p90", "p99", "last", "rate", "average"),
}  # fmt: skip


def check_rules(
    rules: Sequence[AlertRule], windows: Windows, place: Location = RULES
) -> Iterator[Problem]:
    """Everything that a rule names and that is not; lines are not known here."""
    known = {rule.name: rule for rule in windows.rules}
    for i, rule in enumerate(rules):
        here = (*place, i)
        if rule.name == PIPELINE_STALLED:
            message = f"{rule.name} is built in, and looks at no windows"
            yield Problem((*here, "name"), None, message)
        window = known.get(rule.on.window)
        if window is None:
            said = f"no rule of windows.rules is called {rule.on.window!r}"
            yield _wrong((*here, "on", "window"), said, rule.on.window, known)
            continue
        yield from check_statistic(rule.on, window, (*here, "on"))
        keys = [attribute_name(key) for key in window.by]
        if rule.match is not None:
            yield from _match(rule.match, window, keys, (*here, "match"))
        yield from _templates(rule, keys, here)


def check_statistic(on: WindowStatistic, window: WindowRule, place: Location) -> Iterator[Problem]:
    """Whether a window rule has such a length, statistic and metric."""
    if on.length not in window.lengths:
        lengths = [format_duration(length) for length in window.lengths]
        closest = min(window.lengths, key=lambda length: abs(length - on.length))
        yield Problem(
            (*place, "length"),
            None,
            f"{window.name} has no windows of {format_duration(on.length)}, but of "
            f"{', '.join(lengths)}; did you mean {format_duration(closest)}?",
        )
    possible = _OF_SIGNAL[window.signal]
    if on.statistic not in possible:
        said = f"windows of {window.signal} ({window.name}) have no {on.statistic}"
        yield _wrong((*place, "statistic"), said, on.statistic, possible)
    if on.metric is not None:
        yield from _metric(on.metric, window, (*place, "metric"))


def _metric(metric: str, window: WindowRule, place: Location) -> Iterator[Problem]:
    if window.metric is None:
        yield Problem(place, None, f"{window.name} is of {window.signal}, which have no metric")
    elif "*" not in metric and "*" not in window.metric and metric != window.metric:
        said = f"{window.name} has no metric {metric!r}"
        yield _wrong(place, said, metric, [window.metric])


def _match(
    match: SeriesMatch, window: WindowRule, keys: Sequence[str], here: Location
) -> Iterator[Problem]:
    for key in match.attributes:
        if key not in keys:
            said = f"{window.name} is not grouped by {key!r}"
            yield _wrong((*here, "attributes", key), said, key, keys)
    if match.metric is not None and window.metric is None:
        message = f"{window.name} is of {window.signal}, which have no metric"
        yield Problem((*here, "metric"), None, message)
    if match.not_ is not None:
        yield from _match(match.not_, window, keys, (*here, "not"))


def _templates(rule: AlertRule, keys: Sequence[str], here: Location) -> Iterator[Problem]:
    for name in rule.labels:
        if name in ("service", "tenant", "metric", *keys):
            message = f"{name} is a label that series have already, and tells them apart"
            yield Problem((*here, "labels", name), None, message)
    texts: list[tuple[Location, str]] = [
        (("summary",), rule.summary),
        (("description",), rule.description),
        *((("labels", name), text) for name, text in rule.labels.items()),
        *((("annotations", name), text) for name, text in rule.annotations.items()),
    ]
    for place, text in texts:
        for part in parse(text):
            key = part.field.removeprefix("labels.")
            if key != part.field and key not in keys:
                said = f"{{{{ {part.field} }}}}: {rule.on.window} is not grouped by {key!r}"
                yield _wrong((*here, *place), said, key, keys)


def _wrong(place: Location, said: str, word: str, possible: Iterable[str]) -> Problem:
    names = list(possible)
    guess = nearest(word, names)
    if guess is not None:
        return Problem(place, None, f"{said}; did you mean {guess}?")
    return Problem(place, None, f"{said}; there is {', '.join(names) or 'nothing'}")
