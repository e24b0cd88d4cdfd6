"""What the stages sample and emit say about themselves, beside what every stage does."""

from .concerns import concerns_of
from .metrics import EmitMetrics, SampleMetrics
from .targets import Targets

__all__ = ["EmitMetrics", "SampleMetrics", "Targets", "concerns_of"]
