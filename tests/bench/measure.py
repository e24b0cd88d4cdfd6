"""CPU seconds and peak resident memory of a process tree."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType

import psutil

_INTERVAL_S = 0.05


class Meter:
    """Watches a process and its children from entry to exit of the ``with`` block."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._began_s = 0.0
        self.cpu_s = 0.0
        self.peak_rss_bytes = 0

    def __enter__(self) -> Meter:
        self._began_s = self._cpu()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cpu_s = self._cpu() - self._began_s
        self._ended.set()
        self._thread.join()

    def now_s(self) -> float:
        """CPU seconds since entry."""
        return self._cpu() - self._began_s

    def _tree(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def _cpu(self) -> float:
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            rss = 0
            with contextlib.suppress(psutil.Error):
                for process in self._tree():
                    with contextlib.suppress(psutil.Error):
                        rss += process.memory_info().rss
            self.peak_rss_bytes = max(self.peak_rss_bytes, rss)
