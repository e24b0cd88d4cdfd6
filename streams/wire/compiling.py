"""How the kernels are compiled, and where their machine code is kept.

numba's own cache has two gaps for us: it notices changes only in the file of the outermost
function, and it refuses a directory that it cannot write to. Here the directory is named by a
fingerprint of all sources of the kernels, and one that is already filled may be read-only
(an image built with the kernels inside, run on a read-only file system). Kernels of each other
package of ``streams`` have a directory of their own: who changes them compiles only those again.

The directory is the first of these that holds the kernels already or can be written to:
``$NUMBA_CACHE_DIR``, ``__pycache__`` beside this file, the user's cache directory. If there is
none, kernels are compiled again in each process. Code for other machines than this one:
``NUMBA_CPU_NAME`` (for example ``generic``, or ``x86-64-v3`` together with
``NUMBA_CPU_FEATURES=``), the same value at build and at run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

__all__ = ["cache_directory", "inlined", "inner", "kernel"]

_PACKAGE = Path(__file__).parent
_STREAMS = _PACKAGE.parent
_PREFIX = "otlp-streams-"
SOURCES = (
    *("attributes", "compiling", "copying", "counting", "faults", "fields", "items"),
    *("memory", "partition", "point_buckets", "point_streams", "point_values", "sampled"),
    *("text", "threshold", "tracestate", "tree", "walk"),
)
"""Modules of the engine whose code or tables are inside of kernels."""


def kernel_sources(room: str) -> list[Path]:
    """Modules with kernels of another package of ``streams``: those that import this one.

    What such a kernel takes from another module of that package has to be of this kind, too.
    """
    modules = sorted((_STREAMS / room).rglob("*.py"))
    return [path for path in modules if "wire.compiling" in path.read_text()]


def _room(module: str) -> str:
    """The package of ``streams`` that a module is in; kernels from elsewhere are with ours."""
    parts = module.split(".")
    return parts[1] if parts[0] == "streams" and len(parts) > 2 else "wire"


@cache
def _fingerprint(room: str) -> str:
    sources = [_PACKAGE / f"{name}.py" for name in SOURCES]
    sources.append(_PACKAGE.parent.parent / "schemas" / "columns.py")
    if room != "wire":
        sources += kernel_sources(room)
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _bases() -> list[Path]:
    own = _PACKAGE / "__pycache__"
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return [*([Path(config.CACHE_DIR)] if config.CACHE_DIR else []), own, user / "otlp-streams"]


@cache
def cache_directory(room: str = "wire") -> Path | None:
    """Where machine code of a package is kept, or None if no place can hold it."""
    prefix = _PREFIX if room == "wire" else f"{_PREFIX}{room}-"
    name = prefix + _fingerprint(room)
    for base in _bases():
        directory = base / name
        if directory.is_dir() and any(directory.glob("*.nbi")):
            return directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(directory, os.W_OK):
            if base == _PACKAGE / "__pycache__":
                for old in base.glob(prefix + 16 * "[0-9a-f]"):
                    if old != directory:
                        shutil.rmtree(old, ignore_errors=True)
            return directory
    return None


class _Locator(_CacheLocator):  # type: ignore[misc]
    def __init__(self, py_file: str, room: str) -> None:
        self._py_file = py_file  # numba names it in warnings
        self._room = room

    def ensure_cache_path(self) -> None:
        """The directory exists; a read-only one shows when it is written to."""

    def get_cache_path(self) -> str:
        return str(cache_directory(self._room))

    def get_source_stamp(self) -> str:
        return _fingerprint(self._room)

    def get_disambiguator(self) -> str:
        return "kernel"

    @classmethod
    def from_function(cls, py_func: object, py_file: str) -> _Locator:
        return cls(py_file, _room(str(py_func.__module__)))


class _CacheImpl(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _KernelCache(FunctionCache):  # type: ignore[misc]
    _impl_class = _CacheImpl

    def save_overload(self, sig: object, data: object) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:  # read-only: what was compiled just now serves this process
            self.disable()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile an entry point: releases the GIL, machine code is kept."""
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    if cache_directory(_room(function.__module__)) is not None:
        dispatcher._cache = _KernelCache(function)
    return dispatcher


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that only kernels call; its code becomes part of theirs."""
    return numba.njit(error_model="numpy")(function)


def inlined(function: Callable[..., Any]) -> Any:
    """``inner``, for what is called for every attribute: the compiler is not asked whether."""
    return numba.njit(error_model="numpy", forceinline=True)(function)
