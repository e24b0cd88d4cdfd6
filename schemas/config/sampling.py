"""Tail sampling: which traces are kept, and what may be spent on finding out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

from .base import Settings
from .matching import SPAN_CONDITIONS_MAX, Match, span_conditions
from .units import Duration, Size

__all__ = [
    "KEY_FIELDS",
    "Adjustable",
    "Aimd",
    "Budget",
    "Policy",
    "RateLimit",
    "Sampling",
    "adjustable",
]

KEY_FIELDS = ("service", "operation", "root_operation", "status")
"""Fields of a sampling key that are no attributes."""
_ATTRIBUTE_PREFIXES = ("span.", "resource.")
_ACTIONS = ("always", "never", "probability", "rate_limit", "budget", "aimd", "weight")
_UNITS = ("traces_per_second", "spans_per_second", "bytes_per_second")
_POLICIES_MAX = 100
_ATTRIBUTES_MAX = 50
_WEIGHTS_MAX = 8


def _key_field(field: str) -> str:
    if field == "tenant":
        raise ValueError("the tenant is always part of the key; leave it away")
    attribute = any(field.startswith(p) and len(field) > len(p) for p in _ATTRIBUTE_PREFIXES)
    if field not in KEY_FIELDS and not attribute:
        possible = (*KEY_FIELDS, "span.KEY", "resource.KEY")
        guess = difflib.get_close_matches(field.lower(), possible, n=1)
        hint = f"; did you mean {guess[0]}?" if guess else ""
        raise ValueError(f"{field!r} is not one of {', '.join(possible)}{hint}")
    return field


KeyField = Annotated[str, AfterValidator(_key_field)]
"""What a sampling key may consist of."""


def _one_unit(model: Settings) -> None:
    units = [name for name in _UNITS if name in type(model).model_fields]
    given = [name for name in units if getattr(model, name) is not None]
    if len(given) != 1:
        what = " and ".join(given) if given else "not how much"
        raise ValueError(f"says {what}, but needs exactly one of {', '.join(units)}")


class RateLimit(Settings):
    """At most so much a second, whatever comes; of what is more, those of greatest randomness."""

    traces_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Traces a second of the whole fleet."""
    spans_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Spans a second of the whole fleet, of those that had come at the decision."""
    burst: Duration = Field(default=1.0, gt=0, le=60)
    """What was not used is available for so long; at least one trace."""

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        _one_unit(self)
        return self


class Budget(Settings):
    """A target that is kept to, divided so that rare sampling keys are seen beside frequent ones.

    Errors and unusually slow traces of a key count as keys of their own.
    """

    traces_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Kept traces a second of the whole fleet."""
    spans_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Kept spans a second of the whole fleet; such as come after the decision do not count."""
    bytes_per_second: Size | None = Field(default=None, gt=0)
    """Kept bytes a second of the whole fleet, before compression; late spans do not count."""
    minimum: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Traces a second that every key may keep at least; all minima shrink alike when together
    they would take more than half of the target."""
    evenness: float = Field(default=0.5, ge=0, le=1)
    """How alike the keys' shares are: 1 gives a frequent key no more than a rare one, which then
    stands for very many; 0 gives in proportion to traffic; 0.5 to its square root."""
    errors: float = Field(default=5.0, gt=0, le=1000)
    """Weight of traces with an error: how many times another's share theirs is."""
    outliers: float = Field(default=5.0, gt=0, le=1000)
    """Weight of traces that took longer than 99 % of their key's."""
    burst: Duration = Field(default=0.1, ge=0, le=60)
    """What was not used may be used later, at most so much of the target."""

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        _one_unit(self)
        return self


class Aimd(Settings):
    """A probability per key that falls while the key's traces are slow or fail.

    Times 0.8 after a window whose average latency is above ``latency``, 0.9 where its share of
    errors is above ``error_rate``, 1.1 where latency is below half of ``latency``.
    """

    base: float = Field(default=1.0, ge=0.01, le=1)
    """Probability at first, and the greatest; the least is 0.01."""
    latency: Duration | None = Field(default=None, gt=0)
    """Average latency of a key's traces that is too much."""
    error_rate: float | None = Field(default=None, gt=0, lt=1)
    """Share of a key's traces with an error that is too much."""
    window: Duration = Field(default=10.0, ge=0.1, le=3600)
    """Averages are over so long."""

    @model_validator(mode="after")
    def _some_threshold(self) -> Self:
        if self.latency is None and self.error_rate is None:
            raise ValueError("needs latency, error_rate or both")
        return self


class Policy(Settings):
    """What is done with the traces that it matches and no policy before it took."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Its name in verdicts, metrics and `sampling set`."""
    match: Match | None = None
    """Which traces; unset: all."""
    always: Literal[True] | None = None
    """Keep them."""
    never: Literal[True] | None = None
    """Drop them."""
    probability: float | None = Field(default=None, gt=0, le=1)
    """Keep each with this probability."""
    rate_limit: RateLimit | None = None
    """Keep at most so many a second."""
    budget: Budget | None = None
    """Keep as many as the budget allows."""
    aimd: Aimd | None = None
    """Keep each with a probability that adapts to latency and errors."""
    weight: float | None = Field(default=None, gt=0, le=1000)
    """Multiply their weight in the budget that will take them; the policies below go on."""
    exempt: bool = False
    """What it keeps is no budget's concern. Without it that counts against the next budget below,
    or the last one, and is cut where it is more than that has."""

    @model_validator(mode="after")
    def _one_action(self) -> Self:
        given = [name for name in _ACTIONS if getattr(self, name) is not None]
        if len(given) != 1:
            what = " and ".join(given) if given else "not what to do"
            raise ValueError(f"says {what}, but needs exactly one of {', '.join(_ACTIONS)}")
        if self.exempt and given[0] in ("never", "budget", "weight"):
            raise ValueError(f"exempt means nothing for a policy with {given[0]}")
        return self

    @property
    def action(self) -> str:
        """Which of the actions it has."""
        return next(name for name in _ACTIONS if getattr(self, name) is not None)


DEFAULT_POLICIES = (Policy(name="budget", budget=Budget(traces_per_second=100.0)),)


class Sampling(Settings):
    """Tail sampling."""

    enabled: bool = False
    """Sample traces; without it all of them are passed on."""
    policies: tuple[Policy, ...] = Field(default=DEFAULT_POLICIES, max_length=_POLICIES_MAX)
    """What is kept: the first policy that matches a trace decides; one with `weight` does not."""
    default: Literal["drop", "keep"] = "drop"
    """What happens to a trace that no policy took. Kept ones count against the last budget."""
    key: tuple[KeyField, ...] = Field(default=("service", "operation", "status"), max_length=10)
    """What makes traces alike: service and operation of the root span (of the earliest where it
    has not come), root_operation, status (error or not), span.KEY and resource.KEY for
    attributes. The tenant is always part of it."""
    keys_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """Keys per partition whose latency and traffic are remembered; those not seen for longest are
    forgotten first. Others are told apart too, but every time as if for the first time."""
    decision_wait: Duration = Field(default=10.0, ge=0.1, le=3600)
    """A trace is decided this long after its first span came."""
    root_wait: Duration = Field(default=2.0, ge=0, le=3600)
    """Or this long after its root span, where traces of that root are known to be complete by
    then; 0: not before decision_wait."""
    decision_interval: Duration = Field(default=0.5, ge=0.01, le=60)
    """Decisions are taken together, so often."""
    decision_memory: Duration = Field(default=300.0, ge=1, le=86_400)
    """Spans that come so much later than their trace's decision still follow it."""
    max_open_traces: int = Field(default=1_000_000, ge=1, le=1 << 30)
    """Undecided traces per partition; beyond it the oldest are decided early."""
    kept_max: int = Field(default=1_000_000, ge=1, le=1 << 30)
    """Kept traces per partition that are remembered for late spans."""
    dropped_max: int = Field(default=10_000_000, ge=1, le=1 << 31)
    """Dropped traces per partition that are remembered for late spans, in 2 bytes each."""
    order_interval: Duration = Field(default=1.0, ge=0, le=60)
    """What is decided waits at most so long to be sent on together with more."""
    order_source_max: Size = Field(default=8 << 20, ge=1 << 10, le=1 << 30)
    """So many bytes of messages are sent on at once."""
    order_max: Size = Field(default=500_000, ge=10_000, le=64 << 20)
    """Largest record of decisions; what does not fit becomes several."""

    @field_validator("key")
    @classmethod
    def _each_once(cls, key: tuple[str, ...]) -> tuple[str, ...]:
        for i, field in enumerate(key):
            if field in key[:i]:
                raise ValueError(f"{field!r} stands there twice")
        return key

    @field_validator("policies")
    @classmethod
    def _policies_fit(cls, policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
        if not policies:
            raise ValueError("must not be empty; leave it away for the default")
        names = [policy.name for policy in policies]
        last: str | None = None
        for i, policy in enumerate(policies):
            if policy.name == "default":
                raise ValueError("no policy can be called default: that is what none has taken")
            if policy.name in names[:i]:
                raise ValueError(f"two policies are called {policy.name}")
            if last is not None:
                raise ValueError(f"{policy.name} is never reached: {last} takes every trace")
            if policy.match is None and policy.weight is None:
                last = policy.name
        weights = [policy for policy in policies if policy.weight is not None]
        if len(weights) > _WEIGHTS_MAX:
            raise ValueError(f"at most {_WEIGHTS_MAX} policies can have a weight")
        for weight in weights:
            if not any(p.budget for p in policies[policies.index(weight) :]):
                raise ValueError(f"the weight of {weight.name} is for a budget, and none is below")
        conditions = len(span_conditions([policy.match for policy in policies]))
        if conditions > SPAN_CONDITIONS_MAX:
            raise ValueError(
                f"{conditions} different conditions about spans; at most {SPAN_CONDITIONS_MAX}"
            )
        if (count := _attributes(policies)) > _ATTRIBUTES_MAX:
            raise ValueError(
                f"the policies look at attributes {count} times; at most {_ATTRIBUTES_MAX}"
            )
        return policies

    @model_validator(mode="after")
    def _root_before_wait(self) -> Self:
        if self.root_wait > self.decision_wait:
            raise ValueError("root_wait is more than decision_wait, which ends the waiting anyway")
        return self


class Adjustable(NamedTuple):
    """A number that can be set at run time."""

    name: str
    """Such as sampling.rest.traces_per_second: the policy's name and the setting's."""
    default: float
    """What the configuration says."""
    field: FieldInfo
    """What it can be."""
    description: str


def adjustable(sampling: Sampling) -> Iterator[Adjustable]:
    """Every number of the policies that can be set at run time; see Decider.adjust."""
    for policy in sampling.policies:
        for part in (policy.budget, policy.rate_limit, policy.aimd):
            if part is not None:
                for name in (*_UNITS, "minimum", "evenness", "errors", "outliers", "base"):
                    if getattr(part, name, None) is not None:
                        yield _adjustable(policy, name, part)
        for name in ("probability", "weight"):
            if getattr(policy, name) is not None:
                yield _adjustable(policy, name, policy)


def _attributes(policies: tuple[Policy, ...]) -> int:
    conditions = span_conditions([policy.match for policy in policies])
    return sum(len(condition.attribute or ()) for condition in conditions)


def _adjustable(policy: Policy, name: str, part: Settings) -> Adjustable:
    field = type(part).model_fields[name]
    said = field.description or ""
    return Adjustable(f"sampling.{policy.name}.{name}", float(getattr(part, name)), field, said)
