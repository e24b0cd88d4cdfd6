"""Rules ready to be evaluated: from configuration, from what was set at run time, built in."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from schemas.config.alert_checks import check_rules
from schemas.config.alerts import AlertRule, Alerts
from schemas.config.load import load_rules
from schemas.config.matching import TextMatch, compile_regex
from schemas.config.windows import Windows
from schemas.errors import ConfigurationError

from .builtin import builtin_rules
from .series import Series

__all__ = ["Rule", "builtin_left_out", "compile_rules"]

_TEXT_MAX = 1000
"""Characters of an attribute's value in labels, matches and annotations."""
_OUTPUT = "window."
"""Before the metric's name in what windows gives."""


@dataclass(frozen=True)
class Rule:
    """One rule. Equal digests are equal rules."""

    config: AlertRule
    builtin: bool = False
    digest: str = field(init=False)
    """Version of it: 16 hexadecimal digits."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self.config.digest)

    @property
    def name(self) -> str:
        """Its name, `alertname` of its alerts."""
        return self.config.name

    @property
    def window(self) -> str:
        """The window rule that it looks at."""
        return self.config.on.window

    @cached_property
    def length_ms(self) -> int:
        """Length of the windows that it looks at."""
        return round(self.config.on.length * 1000)

    @property
    def statistic(self) -> str:
        """The number that it looks at."""
        return self.config.on.statistic

    @property
    def anomaly(self) -> bool:
        """Whether it needs detection on its statistic."""
        return self.config.anomaly is not None

    @cached_property
    def for_ms(self) -> int:
        """How long its condition must have held."""
        return round(self.config.for_ * 1000)

    @cached_property
    def keep_ms(self) -> int:
        """How long its condition must not have held."""
        return round(self.config.keep_firing_for * 1000)

    @cached_property
    def no_data_ms(self) -> int:
        """After how long nothing is known of an alert."""
        return round(self.config.no_data_after * 1000)

    def matches(self, series: Series) -> bool:
        """Whether it is about this series."""
        if (self.window, self.length_ms) != (series.window, series.length_ms):
            return False
        if self._metric is not None and not self._metric.fullmatch(_metric(series)):
            return False
        return all(_holds(test, series) for test in self._tests)

    @cached_property
    def _metric(self) -> re.Pattern[str] | None:
        glob = self.config.on.metric
        if glob is None:
            return None
        return re.compile(".*".join(map(re.escape, glob.split("*"))), re.DOTALL)

    @cached_property
    def _tests(self) -> list[_Test]:
        return [] if self.config.match is None else [_Test(self.config.match)]


class _Test:
    """A SeriesMatch with its expressions compiled."""

    def __init__(self, match: Any) -> None:
        self.texts = [
            (name, _text_test(each))
            for name in ("tenant", "service", "metric")
            if (each := getattr(match, name)) is not None
        ]
        self.attributes = [(key, _text_test(each)) for key, each in match.attributes.items()]
        self.negated = None if match.not_ is None else _Test(match.not_)


def _holds(test: _Test, series: Series) -> bool:
    texts = {"tenant": series.tenant, "service": series.service, "metric": _metric(series)}
    if not all(matches(texts[name]) for name, matches in test.texts):
        return False
    if test.attributes:
        values = dict(series.attributes)
        for key, matches in test.attributes:
            if key not in values or not matches(attribute_text(values[key])):
                return False
    return test.negated is None or not _holds(test.negated, series)


def _text_test(match: TextMatch) -> Any:
    if match.equals is not None:
        return match.equals.__eq__
    if match.one_of is not None:
        return frozenset(match.one_of).__contains__
    search = compile_regex(match.regex or "").search
    return lambda text: search(text) is not None


def _metric(series: Series) -> str:
    return series.metric.removeprefix(_OUTPUT)


def attribute_text(value: Any) -> str:
    """An attribute's value as text: as in JSON, but texts without quotes.

    A very long one ends with a digest of it, so that it stays another than others.
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if len(text) <= _TEXT_MAX:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{text[:_TEXT_MAX]}…{digest}"


def compile_rules(
    alerts: Alerts, windows: Windows, text: str | None = None, source: str = "alerts.rules"
) -> tuple[Rule, ...]:
    """All rules that are in force: the built-in ones and those given, in this order.

    Args:
        alerts: the configuration.
        windows: what is aggregated.
        text: rules that were set at run time, in YAML (a list), in place of the configuration's;
            None or empty: nothing was set.
        source: what errors call the text.

    Raises:
        ConfigurationError: with everything that is wrong, each with its line where there is a
            text. Nothing of it is taken then.
    """
    given = alerts.rules
    if text is not None and text.strip():
        given = load_rules(text, source=source, check=lambda rules: check_rules(rules, windows))
    else:
        problems = list(check_rules(given, windows))
        if problems:
            raise ConfigurationError("\n  ".join([f"{source}:", *map(str, problems)]))
    return (*_builtin(alerts, windows, given), *(Rule(rule) for rule in given))


def builtin_left_out(alerts: Alerts, windows: Windows) -> dict[str, str]:
    """Built-in rules that nobody has taken away and that still do not run, and why, by name."""
    if not alerts.builtin:
        return {}
    gone = {*alerts.without, *(rule.name for rule in alerts.rules)}
    found = {}
    for rule in builtin_rules():
        problem = next(iter(check_rules((rule,), windows)), None)
        if problem is not None and rule.name not in gone:
            found[rule.name] = problem.message
    return found


def _builtin(alerts: Alerts, windows: Windows, given: tuple[AlertRule, ...]) -> list[Rule]:
    """Those that nobody has taken away, and whose windows there are."""
    if not alerts.builtin:
        return []
    gone = {*alerts.without, *(rule.name for rule in given), *builtin_left_out(alerts, windows)}
    return [Rule(rule, builtin=True) for rule in builtin_rules() if rule.name not in gone]
