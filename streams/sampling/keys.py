"""The sampling key: what makes traces alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.sampling.columns import Traces
from streams.sampling.interning import Interned

__all__ = ["SamplingKey"]


class SamplingKey:
    """Tenant and the fields of ``sampling.key``."""

    fields: tuple[str, ...]
    """``tenant`` and then as configured."""

    def __init__(self, key: Sequence[str]) -> None:
        raise NotImplementedError

    def hash(self, traces: Traces) -> NDArray[np.uint64]:
        """Hash of each trace's key."""
        raise NotImplementedError

    def text(self, traces: Traces, row: int, texts: Interned) -> str:
        """A trace's key for a person to read."""
        raise NotImplementedError
