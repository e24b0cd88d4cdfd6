"""The state of a rule as bytes: what it says, its alerts, and columns of series that it matches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.config.alerts import AlertRule
from schemas.records import MalformedRecord, VersionedRecord
from schemas.records.binary import ColumnPlace
from streams.packing import kind_of, pack, unpack

from .conditions import Evidence
from .rule_state import RuleState
from .series import Series
from .transitions import Active, Reason, State

__all__ = ["read_state", "write_state"]

_KIND: Literal["alert_rule_state"] = "alert_rule_state"


class _Alert(BaseModel):
    """One of a rule's alerts."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    series_id: int
    series: Series
    starts_at_ms: int
    known_at_ms: int
    evidence: Evidence
    state: State
    fired_at_ms: int | None
    not_since_ms: int | None
    lapses: int
    labels: dict[str, str]
    fingerprint: str


class _Head(VersionedRecord):
    """A rule's state, or what belongs to none (``rule`` is None)."""

    model_config = ConfigDict(ser_json_inf_nan="constants", allow_inf_nan=True)

    schema_version: Literal[1] = 1
    kind: Literal["alert_rule_state"] = _KIND
    rule: AlertRule | None = None
    builtin: bool = False
    orphan: Reason | Literal[""] = ""
    ever_matched: bool = False
    suppressed: int = 0
    series: int
    alerts: tuple[_Alert, ...] = ()
    columns: tuple[ColumnPlace, ...] = ()

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_defaults=False).encode()


def write_state(
    state: RuleState | None,
    live: NDArray[np.bool_],
    *,
    suppressed: int = 0,
    orphan: Any = "",
) -> bytes:
    """A rule's state; without one, which series there are and how many were suppressed."""
    if state is None:
        head = _Head(series=len(live), suppressed=suppressed)
        return pack(head, {"bits": np.packbits(live)})
    alerts = tuple(
        _Alert.model_construct(**{name: getattr(each, name) for name in _Alert.model_fields})
        for each in state.actives.values()
    )
    head = _Head(
        rule=state.rule.config,
        builtin=state.rule.builtin,
        orphan=orphan,
        ever_matched=state.ever_matched,
        suppressed=state.suppressed,
        series=len(live),
        alerts=alerts,
    )
    matched = np.flatnonzero(state.matched)
    columns: dict[str, NDArray[Any]] = {"bits": np.packbits(state.matched)}
    if state.history is not None:
        columns["history"] = state.history[matched]
    if state.presence is not None:
        columns |= {name: each[matched] for name, each in state.presence.columns().items()}
    return pack(head, columns)


def read_state(
    chunk: bytes,
) -> tuple[_Head, NDArray[np.bool_], Callable[[RuleState], None]]:
    """The head, its bits (live series, or those matched), and what fills in a new RuleState.

    Raises MalformedRecord, the function too.
    """
    kind, text = kind_of(chunk)
    if kind != _KIND:
        raise MalformedRecord(f"no state of alert rules, but {kind}")
    try:
        head = _Head.decode(text)
    except ValidationError as error:
        raise MalformedRecord(f"no state of alert rules: {error}") from None
    columns = unpack(chunk, text, head.columns)
    if "bits" not in columns or len(columns["bits"]) != -(-head.series // 8):
        raise MalformedRecord("state of alert rules without its series")
    bits = np.unpackbits(columns["bits"].view(np.uint8), count=head.series).astype(np.bool_)
    return head, bits, lambda state: _fill(state, head, bits, columns)


def _fill(
    state: RuleState, head: _Head, bits: NDArray[np.bool_], columns: dict[str, NDArray[Any]]
) -> None:
    if len(state.matched) != head.series:
        raise MalformedRecord("states of alert rules over different series")
    state.matched[:] = bits
    state.ever_matched = head.ever_matched
    state.suppressed = head.suppressed
    matched = np.flatnonzero(bits)
    try:
        if state.history is not None:
            state.history[matched] = columns["history"]
        if state.presence is not None:
            for name, column in state.presence.columns().items():
                column[matched] = columns[name]
    except (KeyError, ValueError) as error:
        raise MalformedRecord(f"state of alert rules: column {error}") from None
    for each in head.alerts:
        if not 0 <= each.series_id < head.series:
            raise MalformedRecord(f"state of alert rules: no series {each.series_id}")
        active = Active(**{name: getattr(each, name) for name in _Alert.model_fields})
        state.adopt(active)
