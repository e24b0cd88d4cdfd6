"""Columns behind a JSON header: what records of many rows look like on the wire."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ..columns import Column

__all__ = ["LAYOUT", "MAGIC", "ColumnPlace", "Table"]

MAGIC = b"\x89OSR"

LAYOUT = """
| bytes | |
|---|---|
| 0 to 3 | 89 4F 53 52: `OSR` behind a byte that no text begins with |
| 4 to 7 | CRC-32 (ISO 3309, as zlib has it) of everything after these 8 bytes |
| 8 to 11 | size of the header, padding included |
| 12 to 15 | 0 |
| 16 … | the header: a JSON object in UTF-8, padded with blanks to a multiple of 8 bytes |
| then | the columns in the order of `columns`, each padded with zeros to a multiple of 8 bytes |

Numbers are little-endian. A column of integers is stored in any width that holds them, and `dtype`
says in which: `u`, `i` or `f`, and the bytes of an element. Columns and fields of the header that
a reader does not know are passed over.
"""

Table = tuple[Column, ...]
"""Columns of one length."""


class ColumnPlace(BaseModel):
    """A column of the record."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    name: str
    """Its name."""
    dtype: str = Field(max_length=8)
    """How it is stored, such as ``u4``."""
    size: int = Field(ge=0, le=1 << 30)
    """Its bytes, without padding."""
