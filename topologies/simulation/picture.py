"""A simulation as a picture: what came and went a second, what was kept, and what it tells."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from schemas.config import Sampling
from schemas.errors import ConfigurationError
from streams.sampling.simulation import Simulation

__all__ = ["FORMATS", "draw"]

FORMATS = ("svg", "png")
_KEYS_MAX = 12
_NAME_MAX = 44
_BINS = 120
_FIELD = re.compile(r"(^| )[\w.]+=")
_COLOURS = ("#2f6f9f", "#c8553d", "#5b8c5a", "#8b6fb0", "#c7a12f", "#4d9fa8", "#8a8a8a")
_CAME, _QUIET = "#b8bec6", "#5a626b"


def draw(simulation: Simulation, settings: Sampling, file: Path, title: str) -> None:
    """Write the picture; the file's suffix says which format. The same bytes for the same run.

    Raises ConfigurationError where there is no such format, or the file cannot be written.
    """
    kind = file.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigurationError(f"{file}: a picture is {' or '.join(FORMATS)}")
    style: Any = {"font.size": 9.0, "svg.hashsalt": "otlp-streams", "svg.fonttype": "none"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(11, 7.5), layout="constrained")
        figure.suptitle(title, fontsize=11)
        axes = figure.subplots(2, 2)
        for each in axes.flat:
            each.spines[["top", "right"]].set_visible(False)
            each.tick_params(colors=_QUIET)
        _rates(axes[0, 0], simulation, settings)
        _traffic(axes[0, 1], simulation)
        _keys(axes[1, 0], simulation)
        _estimates(axes[1, 1], simulation)
        canvas = (FigureCanvasSVG if kind == "svg" else FigureCanvasAgg)(figure)
        metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
        try:
            canvas.print_figure(file, dpi=120, format=kind, metadata=metadata)
        except OSError as error:
            raise ConfigurationError(f"{file}: {error.strerror or error}") from None


def _series(simulation: Simulation) -> tuple[list[int], list[Counter[str]]]:
    """Seconds since the first decision, and counts a second from then on, at most _BINS of them."""
    known = simulation.accounts.seconds
    if not known:
        return [], []
    first, last = min(known), max(known)
    width = -(-(last - first + 1) // _BINS)
    bins = [Counter[str]() for _ in range(0, last - first + 1, width)]
    for second, counts in known.items():
        bins[(second - first) // width].update(counts)
    return [width * place for place in range(len(bins))], [
        Counter({name: count / width for name, count in each.items()}) for each in bins
    ]


def _rates(axes: Any, simulation: Simulation, settings: Sampling) -> None:
    x, bins = _series(simulation)
    rows = [(name, [each[name] for each in bins]) for name in sorted(simulation.accounts.policies)]
    kept = [(name, row) for name, row in rows if any(row)]
    if kept:
        axes.stackplot(
            x, [row for _, row in kept], labels=[name for name, _ in kept],
            colors=[_COLOURS[i % len(_COLOURS)] for i in range(len(kept))], step="post",
        )  # fmt: skip
    for policy in settings.policies:
        for limit in (policy.budget, policy.rate_limit):
            if limit is not None and limit.traces_per_second is not None:
                axes.axhline(limit.traces_per_second, color="black", linewidth=1, linestyle="--")
                axes.annotate(
                    f"target of {policy.name}", (0, limit.traces_per_second), fontsize=8,
                    textcoords="offset points", xytext=(2, 3),
                )  # fmt: skip
    axes.set(title="kept traces a second, by policy", xlabel="seconds")
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # room for the legend
    if kept:
        axes.legend(frameon=False, loc="upper right", fontsize=8, ncols=3)


def _traffic(axes: Any, simulation: Simulation) -> None:
    x, bins = _series(simulation)
    came = [each[""] for each in bins]
    kept = [sum(each.values()) - each[""] for each in bins]
    axes.fill_between(x, came, color=_CAME, step="post", label="decided", linewidth=0)
    axes.fill_between(x, kept, color=_COLOURS[0], step="post", label="kept", linewidth=0)
    axes.set(title="traces a second", xlabel="seconds")
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    axes.legend(frameon=False, loc="upper right", fontsize=8, ncols=2)


def _keys(axes: Any, simulation: Simulation) -> None:
    lines = simulation.accounts.lines()[:_KEYS_MAX]
    names = [_short(name) for name, _ in lines]
    places = np.arange(len(lines))
    axes.barh(places, [line.traces for _, line in lines], color=_CAME, label="came")
    axes.barh(places, [line.kept for _, line in lines], color=_COLOURS[0], label="kept")
    for place, (_, line) in zip(places.tolist(), lines, strict=True):
        share = f" {line.kept / line.traces:.0%}"
        axes.annotate(share, (line.traces, place), va="center", fontsize=8, color=_QUIET)
    axes.set_yticks(places, names, fontsize=7)
    axes.invert_yaxis()
    axes.set(title=f"sampling keys, the {len(lines)} largest", xlabel="traces")
    axes.margins(x=0.12)
    if lines:
        axes.legend(frameon=False, loc="lower right", fontsize=8)


def _estimates(axes: Any, simulation: Simulation) -> None:
    lines = [line for _, line in simulation.accounts.lines() if line.kept and not line.unknown]
    missed = [line.traces for _, line in simulation.accounts.lines() if not line.kept]
    truth, estimate = [line.traces for line in lines], [line.estimate for line in lines]
    everything = [*truth, *estimate, *missed]
    ends = [0.7 * min(everything, default=1.0), 1.4 * max(everything, default=2.0)]
    axes.plot(ends, ends, color="black", linewidth=1, linestyle="--")
    axes.scatter(truth, estimate, s=18, color=_COLOURS[0], alpha=0.7, label="estimated", zorder=3)
    if missed:
        axes.scatter(
            missed,
            [ends[0]] * len(missed),
            s=18,
            marker="x",
            color=_COLOURS[1],
            label="nothing kept",
        )
    axes.set(
        title="traces of each key, estimated from the kept", xscale="log", yscale="log",
        xlabel="came", ylabel="estimate",
    )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.minorticks_off()
    if lines or missed:
        axes.legend(frameon=False, loc="upper left", fontsize=8)


def _short(name: str) -> str:
    """The values of a key, nothing that reads as mathematics; its ends, if it is long."""
    text = _FIELD.sub(" · ", name).removeprefix(" · ")
    text = "".join(c if c.isprintable() else " " for c in text)
    if len(text) > _NAME_MAX:
        text = f"{text[: _NAME_MAX // 3]}…{text[-(2 * _NAME_MAX // 3) :]}"
    return text.replace("$", r"\$")
