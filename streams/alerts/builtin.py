"""Rules that run unless somebody takes them away: requests, errors and durations of services.

They know nothing of a service in advance. What can be judged by its history alone is (a rule about
anomalies), with a difference that must be there to matter; a fixed threshold is where nobody would
say that it is normal. A condition in a single window of ten seconds is chance; several of the last
few are not, so each may be sensitive. What comes within ``anomaly.dead_time`` (60 windows) after an
alarm belongs to it, so there are at most 144 false ones a day in windows of ten seconds, and 24 in
those of a minute: 70 of the former are one window in 25, 40 one in 60, 20 one in 150; 20 of the
latter are one in five. Large changes are told from two windows of ten seconds; small ones, and
those of services with little to do, from two of a minute. What is found by that, how soon, and what
is not, is measured in docs/detection.md; the numbers are chosen between what is found of seeded
faults and what is said of real series with nothing wrong.
"""

from __future__ import annotations

from functools import cache

from schemas.config.alerts import AlertRule
from schemas.config.load import load_rules

__all__ = ["BUILTIN", "builtin_rules"]

BUILTIN = """\
# A quarter of what a service does fails: nobody's normal, and known from the first minute on.
- name: ErrorRatioHigh
  on: {window: services, length: 10s, statistic: error_ratio}
  threshold: {op: ">", value: 25%}
  min_count: 20
  at_least: {windows: 2, of: 3}
  keep_firing_for: 30s
  severity: critical
  summary: "{{ value | percent }} of {{ service }} fail"
  description: "Spans with status ERROR, by all spans of {{ service }} in {{ length }}."

# More of it fails than used to.
- name: ErrorRatioUp
  on: {window: services, length: 10s, statistic: error_ratio}
  anomaly: {sensitivity: 70, direction: up, min_difference: 3%}
  min_count: 10
  at_least: {windows: 3, of: 4}
  keep_firing_for: 30s
  severity: critical
  summary: "{{ value | percent }} of {{ service }} fail, expected up to {{ high | percent }}"
  description: "Spans with status ERROR, by all spans of {{ service }} in {{ length }}."

# The same for services with a few requests a minute.
- name: ErrorRatioHighSlow
  on: {window: services, length: 1m, statistic: error_ratio}
  threshold: {op: ">", value: 25%}
  min_count: 8
  at_least: {windows: 2, of: 3}
  keep_firing_for: 1m
  severity: critical
  summary: "{{ value | percent }} of {{ service }} fail"
  description: "Spans with status ERROR, by all spans of {{ service }} in {{ length }}."

# The slowest requests are slower than they used to be.
- name: LatencyP99Up
  on: {window: services, length: 10s, statistic: p99}
  anomaly: {sensitivity: 40, direction: up, min_change: 0.25, min_difference: 5ms}
  min_count: 10
  at_least: {windows: 3, of: 4}
  keep_firing_for: 30s
  summary: "p99 of {{ service }} is {{ value | duration }}, expected up to {{ high | duration }}"
  description: "Duration of all spans of {{ service }} in {{ length }}."

# More of them are, and much: chance moves p90 less, if there are enough.
- name: LatencyP90Up
  on: {window: services, length: 10s, statistic: p90}
  anomaly: {sensitivity: 20, direction: up, min_change: 0.5, min_difference: 5ms}
  min_count: 30
  at_least: {windows: 2, of: 3}
  keep_firing_for: 30s
  summary: "p90 of {{ service }} is {{ value | duration }}, expected up to {{ high | duration }}"
  description: "Duration of all spans of {{ service }} in {{ length }}."

# The same for smaller changes, and for services with a few requests a second.
- name: LatencyAverageUpSlow
  on: {window: services, length: 1m, statistic: average}
  anomaly: {sensitivity: 20, direction: up, min_change: 0.1, min_difference: 1ms}
  min_count: 20
  at_least: {windows: 2, of: 3}
  keep_firing_for: 1m
  summary: >-
    {{ service }} takes {{ value | duration }} on average,
    expected up to {{ high | duration }}
  description: "Duration of all spans of {{ service }} in {{ length }}."

# Much more or much less comes than used to.
- name: RateUnusual
  on: {window: services, length: 10s, statistic: rate}
  anomaly: {sensitivity: 40, direction: both, min_change: 0.1, min_difference: 0.5}
  at_least: {windows: 2, of: 3}
  keep_firing_for: 30s
  summary: >-
    {{ service }}: {{ value | .1f }} spans a second,
    expected {{ low | .1f }} to {{ high | .1f }}
  description: "Spans of {{ service }} in {{ length }}, whatever their kind."

# The same for changes that are smaller, and last.
- name: RateUnusualSlow
  on: {window: services, length: 1m, statistic: rate}
  anomaly: {sensitivity: 20, direction: both, min_change: 0.1, min_difference: 0.25}
  at_least: {windows: 2, of: 3}
  keep_firing_for: 1m
  summary: >-
    {{ service }}: {{ value | .1f }} spans a second,
    expected {{ low | .1f }} to {{ high | .1f }}
  description: "Spans of {{ service }} in {{ length }}, whatever their kind."

# Nothing comes of a service any more that was there, for longer than its pauses are.
- name: ServiceSilent
  on: {window: services, length: 10s, statistic: count}
  absence: {sensitivity: 0.02, history: 30}
  severity: critical
  summary: "nothing comes of {{ service }} any more"
  description: "{{ service }} was there, and has been silent for longer than its pauses were."

# A service logs more errors than it used to.
- name: ErrorLogsUp
  on: {window: logs, length: 10s, statistic: count}
  match: {attributes: {severity: [ERROR, FATAL]}}
  anomaly: {sensitivity: 40, direction: up, min_change: 0.5, min_difference: 5}
  at_least: {windows: 3, of: 4}
  keep_firing_for: 30s
  summary: >-
    {{ service }} logs {{ value }} records of severity {{ labels.severity }} in {{ length }},
    expected up to {{ high }}

# It gives up.
- name: FatalLogs
  on: {window: logs, length: 10s, statistic: count}
  match: {attributes: {severity: FATAL}}
  threshold: {op: ">", value: 0}
  keep_firing_for: 5m
  severity: critical
  summary: "{{ service }} logs records of severity FATAL"
"""


@cache
def builtin_rules() -> tuple[AlertRule, ...]:
    """The built-in rules, checked like any others."""
    return load_rules(BUILTIN, source="built-in rules")
