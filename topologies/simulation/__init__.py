"""``sampling simulate``: what a configuration would keep of a recording."""

from .picture import FORMATS, draw
from .run import Plan, simulate
from .tables import as_dict, show

__all__ = ["FORMATS", "Plan", "as_dict", "draw", "show", "simulate"]
