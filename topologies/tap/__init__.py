"""What flows on a topic, for people and for scripts: what ``tap`` is made of."""

from .follow import Message, follow
from .show import as_json, as_rows

__all__ = ["Message", "as_json", "as_rows", "follow"]
