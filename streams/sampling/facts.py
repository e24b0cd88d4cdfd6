"""What policies and sampling keys need to know about spans beyond the scan."""

from __future__ import annotations

from schemas.config import Sampling
from streams.sampling.columns import SpanFacts
from streams.sampling.interning import Interned
from streams.wire import SpanScan

__all__ = ["Facts"]


class Facts:
    """Reads a batch's spans for the policies and the key of ``settings``.

    ``texts`` learns the readable form of what keys consist of.
    """

    fields: int
    """Rows of ``SpanFacts.extra``: attributes in the key."""
    refused: int
    """Spans so far whose ``th`` or ``rv`` could not be read."""

    def __init__(self, settings: Sampling, texts: Interned) -> None:
        raise NotImplementedError

    def of(self, data: bytes, scan: SpanScan) -> SpanFacts:
        """Facts about the spans of ``data``, of which ``scan`` is the scan."""
        raise NotImplementedError
