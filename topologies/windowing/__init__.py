"""What windows and those who feed them say about themselves, beside what every stage does."""

from .concerns import WindowConcerns
from .hosting import PartialsHost
from .metrics import PartialMetrics, WindowMetrics

__all__ = ["PartialMetrics", "PartialsHost", "WindowConcerns", "WindowMetrics"]
