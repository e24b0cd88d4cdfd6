"""What the live display makes of the workers' own metrics."""

import io
import json

from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console

from schemas.config.load import load
from streams.sampling.counts import SampleCounts, State
from topologies.demo.figures import figures, rates
from topologies.demo.panel import SamplingPanel, line
from topologies.demo.plan import SAMPLING
from topologies.sampling import SampleMetrics, Targets


def worker(errors: int, kept: int, dropped: int) -> str:
    """What a worker says that has decided so many traces."""
    counts, registry = SampleCounts(), CollectorRegistry()
    counts.kept_traces.update({"errors": errors, "fair-share": kept})
    counts.dropped_traces["fair-share"] = dropped
    counts.late_kept_spans, counts.late_dropped_spans = 2, 1
    counts.partitions = {0: State(open_traces=7, oldest_undecided_ms=4500), 1: State(2, 5250)}
    config = load(json.dumps({"sampling": SAMPLING}))
    SampleMetrics(registry, counts, Targets(config.sampling))
    return generate_latest(registry).decode()


def test_workers_are_added_and_the_target_is_the_fleets():
    # Under a supervisor each sample has the labels of its worker; here two texts stand for two.
    one = figures(worker(errors=10, kept=100, dropped=400), 5.0)
    text = worker(10, 100, 400)
    both = figures(
        text
        + "\n".join(
            f'{name}{{worker="1",{rest}'
            for name, _, rest in (
                line.partition("{") for line in worker(1, 2, 3).splitlines() if line[:1] != "#"
            )
            if rest
        )
        + "\n",
        5.0,
    )
    assert one.kept == {"errors": 10, "fair-share": 100}
    assert both.kept == {"errors": 11, "fair-share": 102}
    assert both.dropped == {"fair-share": 403}
    assert one.targets["fair-share"] == ("traces", 15.0, 100.0)
    assert both.targets["fair-share"] == ("traces", 15.0, 102.0)
    assert (one.open_traces, one.oldest_s, one.late_spans, one.late_dropped) == (9, 5.25, 3, 1)


def test_rates_are_growth_and_a_worker_that_began_anew_does_not_go_backwards():
    before = figures(worker(10, 100, 400), 5.0)
    now = rates(before, figures(worker(12, 108, 440), 7.0))
    assert now.policies["errors"] == (1.0, 0.0, 12, 0)
    assert now.policies["fair-share"] == (4.0, 20.0, 108, 440)
    assert now.spent == {"fair-share": ("traces", 4.0, 15.0)}
    assert (now.decided_s, now.kept_s) == (25.0, 5.0)
    again = rates(before, figures(worker(0, 1, 2), 7.0))
    assert again.policies["errors"].kept_s == 0
    assert again.spent["fair-share"][1] == 0


def test_the_panel_shows_the_rate_beside_the_budget_and_a_row_per_policy():
    panel = SamplingPanel(("errors", "slow", "fair-share"))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(panel)
    assert "not begun" in console.export_text()
    for second in range(4):
        panel.add(figures(worker(second, 9 * second, 40 * second), float(second)))
    console.print(panel)
    text = console.export_text()
    assert "9.0 of 15 traces/s" in text
    after = text[text.index("kept why") :].splitlines()
    assert [row.split() for row in after[1:3]] == [
        ["errors", "1.0", "0.0", "3", "0", "100"],
        ["fair-share", "9.0", "40.0", "27", "120", "18"],
    ]
    assert "9 traces undecided" in text
    now = panel.rates()
    assert now is not None
    said = line(now, ("errors", "slow", "fair-share"))
    assert said == (
        "kept 10.0 of 50.0 traces/s (errors 1.0, fair-share 9.0); "
        "budget fair-share 9.0 of 15 traces/s"
    )
