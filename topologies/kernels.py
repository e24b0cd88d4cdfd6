"""Every kernel that any stage uses, compiled and kept: ``python -m topologies.kernels``.

For whoever starts several processes on a machine that has them not: each would compile them.
"""

from __future__ import annotations

from schemas.config import Config
from streams import wire

from .sampling.warming import warm_up_emit, warm_up_sample

__all__ = ["compile_all"]


def compile_all() -> None:
    """A second where all are there, else half a minute."""
    wire.warm_up()
    warm_up_sample(Config())
    warm_up_emit(Config())


if __name__ == "__main__":
    compile_all()
