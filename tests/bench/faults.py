"""Are faults found: seeded faults in recorded traffic, the built-in alert rules, nothing else.

    python -m tests.bench.faults DIRECTORY [--seeds 5] [--hours 4] [--rate 3] [--kept DIRECTORY]
    python -m tests.bench.faults DIRECTORY --metrics [--sensitivity 1]

``DIRECTORY`` has ``traces.otlp.zst`` and ``logs.otlp.zst``. Each seed is a day of its own: first
quiet traffic to learn from, then one fault after the other, of every kind, at services and sizes
that the seed chooses. Three things are told: how many faults raised an alert of their service, how
many seconds after their begin it could be read on ``alerts``, and how many alerts an hour there
were when nothing was wrong. What is raised at other services while a fault is there is told apart:
callers of what is slow are slow.

With ``--metrics`` nothing is put in: the recording's own faults (``faults.json``) are looked for in
its own metrics (``metrics.otlp.zst``), see ``fault_metrics``.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from schemas.batches import Record
from schemas.config import Config
from schemas.signals import Signal
from streams.alerts.builtin import builtin_rules

from . import fault_metrics
from .fault_pipeline import Aggregating, Alerting, Kept, Raised
from .fault_traffic import Fault, Pool, Traffic, schedule

__all__ = ["Course", "Found", "configuration", "judge", "run_seed"]

BEGIN_S = 1_700_000_000
GRACE_S = 180.0
"""What is raised so long after a fault belongs to it: it has to go away again."""
FAULT_S, PAUSE_S = 180.0, 420.0
_PARTITIONS = 2


class Found(NamedTuple):
    """One fault and what became of it."""

    fault: Fault
    delay_s: float | None
    """From its begin to the alert of its service; None: there was none."""
    rules: tuple[str, ...]
    """Which rules fired for its service."""
    elsewhere: int
    """Services beside it for which something was raised meanwhile."""


def judge(faults: Sequence[Fault], raised: Iterable[Raised]) -> tuple[list[Found], list[Raised]]:
    """What became of each fault, and what was raised without any."""
    during: dict[int, list[Raised]] = defaultdict(list)
    false = []
    for each in raised:
        if each.event.state != "firing":
            continue
        place = next(
            (i for i, f in enumerate(faults) if f.start_s <= each.at_s < f.stop_s + GRACE_S), None
        )
        if place is None:
            false.append(each)
        else:
            during[place].append(each)
    found = []
    for i, fault in enumerate(faults):
        ours = [r for r in during[i] if r.event.labels.get("service") == fault.service]
        others = {r.event.labels.get("service") for r in during[i]} - {fault.service}
        delay_s = min(
            (r.at_s - fault.start_s for r in ours if r.at_s < fault.stop_s + 60), default=None
        )
        rules = tuple(sorted({r.event.labels["alertname"] for r in ours}))
        found.append(Found(fault, delay_s, rules, len(others)))
    return found, false


class Course(NamedTuple):
    """How long what takes."""

    hours: float
    """With faults."""
    learn_hours: float
    """Before the first one."""
    rate: float
    """Traces a second."""

    @property
    def first_s(self) -> int:
        """Where faults begin."""
        return BEGIN_S + round(self.learn_hours * 3600)

    @property
    def stop_s(self) -> int:
        """Where everything ends."""
        return self.first_s + round(self.hours * 3600)


def run_seed(
    pool: Pool, config: Config, seed: int, course: Course, kept: Path | None = None
) -> tuple[list[Found], list[Raised], float]:
    """One seed: faults, false alarms, and the hours in which there could be false ones.

    Args:
        pool: the traces.
        config: windows, alerts and anomaly of it count.
        seed: of everything.
        course: how long.
        kept: directory for what windows say, which is read there if it has been before.
    """
    rng = np.random.default_rng(seed)
    faults = schedule(
        pool, rng, begin_s=course.first_s, stop_s=course.stop_s,
        length_s=FAULT_S, pause_s=PAUSE_S,
    )  # fmt: skip

    def aggregated() -> Iterator[tuple[int, list[Record]]]:
        aggregating = Aggregating(
            config, partitions=_PARTITIONS, signals=(Signal.TRACES, Signal.LOGS), seed=seed
        )
        traffic = Traffic(pool, faults, rng, rate=course.rate)
        for second, sent in enumerate(traffic.seconds(BEGIN_S, course.stop_s), BEGIN_S):
            yield second, aggregating.second(second, sent)

    seconds: Iterable[tuple[int, list[Record]]]
    if kept is None:
        seconds = aggregated()
    else:
        hours = f"{course.learn_hours:g}+{course.hours:g}h-{course.rate:g}"
        file = Kept(kept / f"{seed}-{hours}.zst")
        if not file:
            file.write(aggregated())
        records = file.read(config.topics.names.windows)
        seconds = ((second, records.pop(second, [])) for second in range(BEGIN_S, course.stop_s))
    alerting = Alerting(config, partitions=_PARTITIONS)
    raised = [each for second, said in seconds for each in alerting.second(second, said)]
    found, false = judge(faults, raised)
    busy_s = sum(f.stop_s - f.start_s + GRACE_S for f in faults)
    return found, false, (course.stop_s - BEGIN_S - busy_s) / 3600


def configuration() -> Config:
    """Default settings; only windows that a built-in rule looks at, for others cost time."""
    looked_at = {rule.on.window for rule in builtin_rules()}
    rules = [rule for rule in Config().windows.rules if rule.name in looked_at]
    windows = {"enabled": True, "rules": [rule.model_dump() for rule in rules]}
    return Config.model_validate({"windows": windows, "alerts": {"enabled": True}})


def _table(found: Sequence[Found], false: Sequence[Raised], hours: float) -> Table:
    shown = Table("fault", "size", box=None)
    for title in ("faults", "found", "share", "median s", "worst s", "services beside"):
        shown.add_column(title, justify="right")
    shown.add_column("rules that found it")
    for kind, size in sorted({(f.fault.kind, f.fault.size) for f in found}):
        these = [f for f in found if (f.fault.kind, f.fault.size) == (kind, size)]
        delays = [f.delay_s for f in these if f.delay_s is not None]
        rules = Counter(rule for f in these for rule in f.rules)
        shown.add_row(
            kind, f"{size:g}", str(len(these)), str(len(delays)), f"{len(delays) / len(these):.0%}",
            f"{np.median(delays):.0f}" if delays else "-", f"{max(delays):.0f}" if delays else "-",
            f"{np.mean([f.elsewhere for f in these]):.1f}",
            ", ".join(f"{rule} {n}" for rule, n in rules.most_common()),
        )  # fmt: skip
    shown.add_section()
    delays = [f.delay_s for f in found if f.delay_s is not None]
    shown.add_row(
        "all", "", str(len(found)), str(len(delays)), f"{len(delays) / max(len(found), 1):.0%}",
        f"{np.median(delays):.0f}" if delays else "-", f"{max(delays):.0f}" if delays else "-",
        f"{np.mean([f.elsewhere for f in found]):.1f}",
        f"false: {len(false)} in {hours:.1f} h, {len(false) / hours:.2f}/h "
        + str(dict(Counter(r.event.labels["alertname"] for r in false))),
    )  # fmt: skip
    return shown


def _metrics(directory: Path, sensitivity: float, console: Console) -> None:
    faults = fault_metrics.recorded_faults(directory)
    config = fault_metrics.configuration(sensitivity)
    raised, begin_s, stop_s = fault_metrics.run_metrics(directory, config)
    judged = fault_metrics.judge_metrics(faults, raised, begin_s, stop_s)
    for fault, delay_s, silent in zip(faults, judged.delays_s, judged.silent_s, strict=True):
        told = "learning" if silent else "no alert" if delay_s is None else f"{delay_s:.0f} s"
        after_h = (fault.start_s - begin_s) / 3600
        console.print(f"{fault.kind:15} {fault.service:30} after {after_h:4.1f} h: {told}")
    heard = [d for d, s in zip(judged.delays_s, judged.silent_s, strict=True) if not s]
    found = sum(delay_s is not None for delay_s in heard)
    console.print(
        f"{found} of {len(heard)} found ({judged.by_chance:.1%} would be by chance), "
        f"{judged.outside} alerts outside in {judged.outside_h:.1f} h, "
        f"{judged.outside / max(judged.outside_h, 1e-9):.2f}/h of all services"
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--hours", type=float, default=4.0, help="with faults")
    parser.add_argument("--learn", type=float, default=2.0, help="hours before the first fault")
    parser.add_argument("--rate", type=float, default=3.0, help="traces a second")
    parser.add_argument("--kept", type=Path, help="directory for what windows say of each seed")
    parser.add_argument("--each", action="store_true", help="print every fault and false alarm")
    parser.add_argument("--metrics", action="store_true", help="recorded faults and metrics")
    parser.add_argument("--sensitivity", type=float, default=1.0, help="of the rule of --metrics")
    arguments = parser.parse_args()
    console = Console(width=200)
    if arguments.metrics:
        _metrics(arguments.directory, arguments.sensitivity, console)
        return
    pool = Pool(arguments.directory)
    config = configuration()
    course = Course(arguments.hours, arguments.learn, arguments.rate)
    everything: list[Found] = []
    alarms: list[Raised] = []
    hours = 0.0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        found, false, quiet = run_seed(pool, config, seed, course, arguments.kept)
        everything += found
        alarms += false
        hours += quiet
        if arguments.each:
            for one in found:
                console.print(f"seed {seed}: {one}")
            for each in false:
                passed = each.at_s - BEGIN_S
                console.print(
                    f"seed {seed}: false at {passed:.0f} s: {each.event.labels} {each.event.value}"
                )
    console.print(_table(everything, alarms, hours))


if __name__ == "__main__":
    main()
