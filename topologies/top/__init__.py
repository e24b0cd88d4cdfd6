"""What the processes say about themselves, a row each: what ``top`` is made of."""

from .figures import FIGURES, Figure, Row, rows
from .policies import PolicyRow
from .scrape import Scrape, scrape
from .table import policy_table, table

__all__ = [
    "FIGURES", "Figure", "PolicyRow", "Row", "Scrape", "policy_table", "rows", "scrape", "table",
]  # fmt: skip
