"""What detection and alert rules say about themselves, beside what every stage does."""

from .concerns import DetectConcerns
from .metrics import DetectMetrics

__all__ = ["DetectConcerns", "DetectMetrics"]
