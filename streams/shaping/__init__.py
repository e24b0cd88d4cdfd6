"""What becomes of a signal between the topic it came on and the one exporters read."""

from .passing import PassThrough

__all__ = ["PassThrough"]
