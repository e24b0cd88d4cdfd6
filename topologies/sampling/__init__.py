"""What the stages sample and emit say about themselves, beside what every stage does."""

from .concerns import Concerns
from .metrics import EmitMetrics, SampleMetrics
from .targets import Targets

__all__ = ["Concerns", "EmitMetrics", "SampleMetrics", "Targets"]
