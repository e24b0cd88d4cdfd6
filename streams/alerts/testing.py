"""Tests of alert rules: input series in, alerts out, and how they differ from what was expected.

The rules run on the very states that they have in ``detect``; windows are made of input series,
and what detection says of them from their expected ranges. Times count from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from schemas.config.alert_checks import check_rules, check_statistic
from schemas.config.alert_tests import (
    AlertCheck,
    AlertTest,
    AlertTests,
    Expected,
    InputSeries,
)
from schemas.config.alerts import AlertRule, Alerts, WindowStatistic
from schemas.config.load import load_as, load_rules
from schemas.config.problems import Problem, nearest
from schemas.config.units import format_duration
from schemas.config.windows import attribute_name
from schemas.errors import ConfigurationError

from .input_series import Channel, channels
from .rules import Rule, compile_rules
from .states import RuleStates
from .transitions import Active, annotate

__all__ = ["Failure", "load_tests", "run_test"]


class Failure(NamedTuple):
    """A check whose alerts are others than expected."""

    test: str
    check: AlertCheck
    missing: tuple[str, ...]
    """Alerts that were expected and are not there."""
    surplus: tuple[str, ...]
    """Alerts that are there and were not expected."""

    def __str__(self) -> str:
        head = f"{self.test}: {self.check.alertname} at {format_duration(self.check.eval_time)}:"
        lines = [f"  - {each}" for each in self.missing] + [f"  + {each}" for each in self.surplus]
        return "\n".join([head, *lines])


class _Alert(NamedTuple):
    """One as it is, or as it is expected; annotations None: any."""

    state: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str] | None

    def matches(self, other: _Alert) -> bool:
        return (self.state, self.labels) == (other.state, other.labels) and (
            self.annotations is None or self.annotations == other.annotations
        )

    def __str__(self) -> str:
        labels = ", ".join(f'{name}="{text}"' for name, text in sorted(self.labels.items()))
        told = "".join(
            f"\n      {n}: {text}" for n, text in sorted((self.annotations or {}).items())
        )
        return f"{self.state} {{{labels}}}{told}"


def load_tests(
    text: str, source: str, read: Callable[[str], str]
) -> tuple[AlertTests, tuple[Rule, ...]]:
    """A file of tests, and its rules; ``read`` gives the text of a rule file.

    Raises ConfigurationError with everything that is wrong.
    """
    rules: list[tuple[Rule, ...]] = []

    def check(tests: AlertTests) -> Iterator[Problem]:
        yield from check_rules(tests.rules, tests.windows, ("rules",))
        rules.append(_rules(tests, read))
        yield from _problems(tests, [rule.name for rule in rules[0]])

    tests = load_as(AlertTests, text, source=source, check=check)
    return tests, rules[0]


def _rules(tests: AlertTests, read: Callable[[str], str]) -> tuple[Rule, ...]:
    given: list[AlertRule] = list(tests.rules)
    for name in tests.rule_files:
        given += load_rules(read(name), name, lambda rules: check_rules(rules, tests.windows))
    seen: set[str] = set()
    for rule in given:
        if rule.name in seen:
            raise ConfigurationError(f"two rules are called {rule.name}")
        seen.add(rule.name)
    alerts = Alerts.model_construct(rules=tuple(given), builtin=tests.builtin)
    return compile_rules(alerts, tests.windows)


def _problems(tests: AlertTests, names: Sequence[str]) -> Iterator[Problem]:
    for i, test in enumerate(tests.tests):
        for j, series in enumerate(test.input_series):
            place = ("tests", i, "input_series", j, "series")
            yield from _of_series(series, test, tests, place)
        for j, check in enumerate(test.alert_rule_test):
            if check.alertname not in names:
                guess = nearest(check.alertname, names)
                hint = f"; did you mean {guess}?" if guess else f"; there is {', '.join(names)}"
                place = ("tests", i, "alert_rule_test", j, "alertname")
                yield Problem(place, None, f"no rule is called {check.alertname!r}{hint}")


def _of_series(
    series: InputSeries, test: AlertTest, tests: AlertTests, place: tuple[int | str, ...]
) -> Iterator[Problem]:
    known = {rule.name: rule for rule in tests.windows.rules}
    name = series.series
    if name.window not in known:
        guess = nearest(name.window, known)
        hint = f"; did you mean {guess}?" if guess else f"; there is {', '.join(known)}"
        yield Problem(place, None, f"no rule of windows.rules is called {name.window!r}{hint}")
        return
    window, length = known[name.window], series.length or test.interval
    on = WindowStatistic.model_construct(
        window=name.window, length=length, metric=None, statistic=name.statistic
    )
    for problem in check_statistic(on, window, place[:-1]):
        yield problem._replace(location=place)
    keys = [attribute_name(key) for key in window.by]
    for key, _ in name.labels:
        if key not in ("service", "tenant", "metric", *keys):
            guess = nearest(key, keys)
            hint = f"; did you mean {guess}?" if guess else ""
            yield Problem(place, None, f"{window.name} is not grouped by {key!r}{hint}")


def run_test(test: AlertTest, rules: Sequence[Rule], active_max: int = 1000) -> list[Failure]:
    """Run one test; the checks that failed, in order of time."""
    failures: list[Failure] = []
    checks = sorted(test.alert_rule_test, key=lambda check: check.eval_time)
    inputs = channels(test)
    series = [each for channel in inputs for each in channel.series]
    states = RuleStates(rules, series.__getitem__, active_max=active_max)
    at_ms = 0
    for check in checks:
        until_ms = round(check.eval_time * 1000)
        for end_ms, channel in _ends(inputs, at_ms, until_ms):
            _step(states, channel, end_ms)
        at_ms = until_ms
        found = [
            _alert(rule, active) for rule, active in states.actives if rule.name == check.alertname
        ]
        failure = _compare(test.name or "test", check, found)
        if failure is not None:
            failures.append(failure)
    return failures


def _ends(inputs: Sequence[Channel], after_ms: int, until_ms: int) -> Iterator[tuple[int, Channel]]:
    """Windows that end within ``(after_ms, until_ms]``, by their ends."""
    ends = [
        (end_ms, number)
        for number, channel in enumerate(inputs)
        for end_ms in range(
            (after_ms // channel.length_ms + 1) * channel.length_ms,
            until_ms + 1,
            channel.length_ms,
        )
    ]
    for end_ms, number in sorted(ends):
        yield end_ms, inputs[number]


def _step(states: RuleStates, channel: Channel, end_ms: int) -> None:
    window = end_ms // channel.length_ms - 1
    gone = channel.gone(window)
    if len(gone):
        states.forget(gone, end_ms)
    for series_id in channel.new(window).tolist():
        states.enter(series_id, channel.series[series_id - channel.first])
    states.step(channel.block(window, end_ms))


def _alert(rule: Rule, active: Active) -> _Alert:
    labels = {name: text for name, text in active.labels.items() if name != "alertname"}
    return _Alert(active.state, labels, annotate(rule, active))


def _compare(test: str, check: AlertCheck, found: Sequence[_Alert]) -> Failure | None:
    wanted = [_wanted(each, check.alertname) for each in check.exp_alerts]
    pending = any(each.state == "pending" for each in wanted)
    left = [each for each in found if pending or each.state != "pending"]
    missing: list[_Alert] = []
    # Those that say more are looked for first, so that one that leaves it open takes what is left.
    for each in sorted(wanted, key=lambda alert: alert.annotations is None):
        same = next((other for other in left if each.matches(other)), None)
        if same is None:
            missing.append(each)
        else:
            left.remove(same)
    if not missing and not left:
        return None
    return Failure(test, check, tuple(sorted(map(str, missing))), tuple(sorted(map(str, left))))


def _wanted(expected: Expected, alertname: str) -> _Alert:
    labels = {name: text for name, text in expected.exp_labels.items() if text}
    labels.pop("alertname", None)
    return _Alert(expected.state, labels, expected.exp_annotations)
