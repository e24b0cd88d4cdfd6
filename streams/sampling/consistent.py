"""Consistent probability sampling: 56-bit thresholds, and what they say about a span.

Source: OpenTelemetry specification, "TraceState: Probability Sampling" and "TraceState Handling"
(sub-keys ``th`` and ``rv``). A trace is kept iff its randomness R >= the threshold T, so that
one T drops T of every 2^56 traces, and who keeps with a smaller T keeps at least the same traces.

Every function takes one number or an array, and returns the same.
"""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX",
    "PRECISION",
    "PROBABILITY_MIN",
    "UNKNOWN",
    "adjusted_count",
    "decode",
    "encode",
    "probability",
    "randomness",
    "threshold",
]

MAX = 1 << 56
"""Randomness and thresholds are below this."""

UNKNOWN = (1 << 64) - 1
"""In place of a threshold: kept with a probability that nobody can say; ``th`` is removed.

Above every threshold, so that the greatest of several is UNKNOWN as soon as one of them is."""

PROBABILITY_MIN = 2.0**-56
"""Least probability that a threshold can say; lesser ones than this become this one."""

PRECISION = 4
"""Significant hexadecimal digits of a threshold that the specification recommends."""

_DIGITS = 14
_HEX = frozenset("0123456789abcdef")


@overload
def threshold(p: float, precision: int = PRECISION) -> int: ...
@overload
def threshold(p: NDArray[np.float64], precision: int = PRECISION) -> NDArray[np.uint64]: ...
def threshold(
    p: float | NDArray[np.float64], precision: int = PRECISION
) -> int | NDArray[np.uint64]:
    """Threshold of probability ``p``, rounded to ``precision`` digits after the leading f's.

    Rounded before the decision, so that ``th`` says exactly what was done: ``probability`` of
    the result is what to calculate with, within 2^-13 of ``p`` in relative terms at 4 digits. Above
    1 - 2^-17 that is 1. What is not 0 but below PROBABILITY_MIN counts as that.

    Raises ValueError for 0 ("never" is no form of probability sampling), for what is not within
    (0, 1], and for a precision outside of 1 to 14.
    """
    if not 1 <= precision <= _DIGITS:
        raise ValueError(f"precision must be 1 to {_DIGITS} digits, not {precision}")
    values = np.asarray(p, np.float64)
    within = (values > 0) & (values <= 1)
    if not within.all():
        wrong = values[~within].flat[0]
        raise ValueError(f"a sampling probability is above 0 and at most 1, not {wrong}")
    _, exponent = np.frexp(np.maximum(values, PROBABILITY_MIN))
    digits = np.minimum(precision + np.maximum(-exponent, 0) // 4, _DIGITS)
    shift = (4 * (_DIGITS - digits)).astype(np.uint64)
    kept = np.maximum(np.rint(np.ldexp(values, 56)), 1).astype(np.uint64)
    half = (np.uint64(1) << shift) >> np.uint64(1)
    rounded: NDArray[np.uint64] = (np.uint64(MAX) - kept + half) >> shift << shift
    return rounded if isinstance(p, np.ndarray) else int(rounded)


@overload
def probability(t: int) -> float: ...
@overload
def probability(t: NDArray[np.uint64]) -> NDArray[np.float64]: ...
def probability(t: int | NDArray[np.uint64]) -> float | NDArray[np.float64]:
    """Probability that a trace is kept at threshold ``t``: (2^56 - t) / 2^56; UNKNOWN: NaN."""
    if isinstance(t, np.ndarray):
        of_all = (np.uint64(MAX) - np.minimum(t, np.uint64(MAX))).astype(np.float64) / MAX
        return np.where(t < MAX, of_all, np.nan)
    return (MAX - t) / MAX if 0 <= t < MAX else float("nan")


@overload
def adjusted_count(t: int) -> float: ...
@overload
def adjusted_count(t: NDArray[np.uint64]) -> NDArray[np.float64]: ...
def adjusted_count(t: int | NDArray[np.uint64]) -> float | NDArray[np.float64]:
    """How many a span kept at ``t`` stands for: 2^56 / (2^56 - t); UNKNOWN: NaN, not defined."""
    if isinstance(t, np.ndarray):
        return 1.0 / probability(t)
    return 1.0 / probability(t)


def encode(t: int) -> str:
    """The text of ``th``: 14 hexadecimal digits without the trailing zeros, ``0`` for none left.

    Raises ValueError for UNKNOWN, which no text stands for, and what else is not a threshold.
    """
    if not 0 <= t < MAX:
        raise ValueError(f"a threshold is 0 or above and below 2^56, not {t}")
    return f"{t:014x}".rstrip("0") or "0"


def decode(text: str) -> int:
    """The threshold that a text of ``th`` stands for.

    Raises ValueError unless it is 1 to 14 lower-case hexadecimal digits.
    """
    if not 1 <= len(text) <= _DIGITS or not _HEX.issuperset(text):
        raise ValueError(f"th must be 1 to 14 lower-case hexadecimal digits, not {text!r}")
    return int(text.ljust(_DIGITS, "0"), 16)


@overload
def randomness(trace_id_low: int) -> int: ...
@overload
def randomness(trace_id_low: NDArray[np.uint64]) -> NDArray[np.uint64]: ...
def randomness(trace_id_low: int | NDArray[np.uint64]) -> int | NDArray[np.uint64]:
    """Randomness of a trace id: its last 7 bytes; the argument is its last 8 as a number.

    A trace state with ``rv`` says another: ``streams.wire.trace_state`` goes by that.
    """
    if isinstance(trace_id_low, np.ndarray):
        return trace_id_low & np.uint64(MAX - 1)
    return trace_id_low & (MAX - 1)
