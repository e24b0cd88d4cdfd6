"""What became of one trace: what ``explain`` is made of.

The decisions log is read backwards on the trace's partition; where a verdict is found the kept
spans are looked for on their topic, and where none is, the spans that are not decided yet.
"""

from .answer import Answer, Delivery, Searched, State, Waiting
from .search import parse_trace_id, search

__all__ = ["Answer", "Delivery", "Searched", "State", "Waiting", "parse_trace_id", "search"]
