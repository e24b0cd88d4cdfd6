"""The sampling key: what makes traces alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from streams.sampling.columns import Traces
from streams.sampling.grouping import mixed
from streams.sampling.interning import Interned

__all__ = ["SamplingKey"]


class SamplingKey:
    """Tenant and the fields of ``sampling.key``.

    Its hash is what decides. The readable form comes from a table of limited size: the hash of
    what is not in there is shown as hexadecimal digits.
    """

    def __init__(self, key: Sequence[str]) -> None:
        self.fields = ("tenant", *key)
        """``tenant`` and then as configured."""
        self._extra = {name: i for i, name in enumerate(f for f in key if "." in f)}

    def hash(self, traces: Traces, *, status: bool = True) -> NDArray[np.uint64]:
        """Hash of each trace's key; without ``status`` the same for errors as for others."""
        result = traces.tenant
        for field in self.fields[1:]:
            if status or field != "status":
                result = mixed(result, self._column(traces, field))
        return result

    def texts(
        self,
        traces: Traces,
        first: NDArray[np.int64],
        texts: Interned,
        groups: NDArray[np.intp],
    ) -> list[str]:
        """Keys for a person to read, such as ``service=cart operation=GET /cart``.

        Without the tenant where there is none.

        Args:
            traces: of a step.
            first: a trace of each group.
            texts: readable parts.
            groups: those that are wanted.
        """
        rows = first[groups]
        tenants = texts.texts(traces.tenant[rows])
        words: list[Iterable[str]] = [[f"tenant={t}" if t else "" for t in tenants]]
        between = [" " if tenant else "" for tenant in tenants]
        for field in self.fields[1:]:
            column = self._column(traces, field)[rows]
            if field == "status":
                values = ["error" if failed else "ok" for failed in column.tolist()]
            else:
                values = texts.texts(column)
            words += [between, repeat(f"{field}="), values]
            between = [" "] * len(rows)
        return ["".join(each) for each in zip(*words, strict=False)]

    def _column(self, traces: Traces, field: str) -> NDArray[np.uint64]:
        if field == "status":
            return (traces.errors > 0).astype(np.uint64)
        if field in self._extra:
            extra: NDArray[np.uint64] = traces.extra[self._extra[field]]
            return extra
        column: NDArray[np.uint64] = getattr(traces, field)
        return column
