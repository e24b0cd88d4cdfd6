"""A recording sent as a real OTLP client would: what ``replay`` and ``demo`` are made of."""

from .pace import Pace
from .recording import MEMORY_MAX_BYTES, Frame, Recording, load
from .replayer import Replayer, Tally

__all__ = ["MEMORY_MAX_BYTES", "Frame", "Pace", "Recording", "Replayer", "Tally", "load"]
