"""Every kernel that any stage uses, compiled and kept: ``python -m topologies.kernels``.

For whoever starts several processes on a machine that has them not: each would compile them.
"""

from __future__ import annotations

from schemas.config import Config
from streams import wire

from .detection.warming import warm_up_detect
from .sampling.warming import warm_up_emit, warm_up_sample
from .windowing.warming import warm_up_windows

__all__ = ["compile_all"]


def compile_all() -> None:
    """A few seconds where all are there, else a minute or two."""
    wire.warm_up()
    warm_up_sample(Config())
    warm_up_emit(Config())
    warm_up_windows(Config())
    warm_up_detect(Config())


if __name__ == "__main__":
    compile_all()
