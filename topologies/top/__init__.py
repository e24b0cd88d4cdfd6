"""What the processes say about themselves, a row each: what ``top`` is made of."""

from .figures import FIGURES, Figure, Row, rows
from .scrape import Scrape, scrape
from .table import table

__all__ = ["FIGURES", "Figure", "Row", "Scrape", "rows", "scrape", "table"]
