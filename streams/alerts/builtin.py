"""Rules that run unless somebody takes them away: for requests, errors and durations."""

from __future__ import annotations

from functools import cache

from schemas.config.alerts import AlertRule
from schemas.config.load import load_rules

__all__ = ["BUILTIN", "builtin_rules"]

BUILTIN = """\
# More than a twentieth of a service's requests fail.
- name: ErrorRatio
  on: {window: services, length: 10s, statistic: error_ratio}
  threshold: {op: ">", value: 5%}
  min_count: 20
  at_least: {windows: 3, of: 5}
  keep_firing_for: 1m
  severity: critical
  summary: "{{ value | percent }} of {{ service }} fail"
"""


@cache
def builtin_rules() -> tuple[AlertRule, ...]:
    """The built-in rules, checked like any others."""
    return load_rules(BUILTIN, source="built-in rules")
