"""``top`` against a real supervisor's and a real stage's admin port."""

import asyncio
import io
import json
import sys

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge
from rich.console import Console

from schemas.config.load import load
from schemas.errors import BackendUnavailable
from streams.alerts.counts import DetectCounts, DetectState
from streams.edges.platform import AdminServer
from streams.edges.platform.federation import Federation
from streams.edges.receivers import ReceiverMetrics
from streams.sampling.counts import SampleCounts, State
from streams.windows.counts_windows import WindowCounts, WindowState
from topologies.detection import DetectMetrics
from topologies.ingest.metrics import IngestMetrics
from topologies.runtime.metrics import LaneCounts, LaneState, RuntimeMetrics
from topologies.sampling import SampleMetrics, Targets
from topologies.top import FIGURES, PolicyRow, Scrape, policy_table, rows, scrape
from topologies.windowing import WindowMetrics


class Host:
    """A host as the runtime's metrics see it."""

    stage_name = "export.main"
    ready = True

    def __init__(self):
        from topologies.runtime.metrics import HostCounts

        self.topic_counts = {"otlp_spans": LaneCounts(), "otlp_logs": LaneCounts()}
        self.host_counts = HostCounts()

    def lane_states(self):
        return [
            LaneState("otlp_spans", 0, 5, 100, 1, False),
            LaneState("otlp_logs", 1, 2, 50, 0, False),
        ]


def ingest_registry(registry):
    receivers, ingest = ReceiverMetrics(registry), IngestMetrics(registry)
    from schemas.signals import Signal

    receivers.answered(Signal.TRACES, "grpc", "OK", 0.01)
    receivers.received(Signal.TRACES, "grpc", 10, 100)
    ingest.items.labels(signal="traces", outcome="taken").inc(7)
    ingest.items.labels(signal="traces", outcome="invalid_ids").inc(2)
    ingest.messages.labels(topic="otlp_spans", outcome="acknowledged").inc()
    ingest.bytes.labels(topic="otlp_spans").inc(90)


def supervised(host: Host) -> CollectorRegistry:
    """What the supervisor serves for an ingest and an export process."""
    federation = Federation()
    for stage, declare in (("ingest", ingest_registry), ("export:main", None)):
        registry = CollectorRegistry()
        if declare is None:
            RuntimeMetrics(registry).add(host)
        else:
            declare(registry)
        Gauge("process_resident_memory_bytes", "x", registry=registry).set(50e6)
        Counter("process_cpu_seconds", "x", registry=registry).inc(1)
        federation.add_registry(registry, {"stage": stage, "worker": "0"})
    whole = CollectorRegistry()
    whole.register(federation)
    return whole


STATUS = {
    "processes": [
        {"stage": "ingest", "worker": 0, "state": "running", "ready": True, "reason": None,
         "restarts": 0},
        {"stage": "export:main", "worker": 0, "state": "running", "ready": False,
         "reason": "runtime: starting", "restarts": 3},
    ]
}  # fmt: skip


@pytest.fixture
async def supervisor():
    host = Host()

    async def metrics():
        return supervised(host)

    async def status():
        return STATUS

    admin = AdminServer("127.0.0.1:0", metrics, pages={"/status": status})
    await admin.start()
    try:
        yield f"http://{admin.endpoint}", host
    finally:
        await admin.stop()


async def test_every_figure_has_a_source_and_rates_are_of_growth(supervisor):
    url, host = supervisor
    counts = host.topic_counts["otlp_spans"]
    async with aiohttp.ClientSession() as session:
        before = await scrape(session, url)
        counts.messages_in, counts.bytes_in, counts.messages_out = 10, 1000, 8
        host.topic_counts["otlp_logs"].messages_in = 5
        counts.dead_letters["refused"] = 2
        counts.recovered("assigned", 0.5)
        now = (await scrape(session, url))._replace(time_s=before.time_s + 2)
    ingest, export = rows(before, now)
    assert (ingest.stage, ingest.worker, ingest.ready) == ("ingest", "0", True)
    assert (export.stage, export.ready, export.restarts) == ("export:main", False, 3)
    assert export.reason == "runtime: starting"
    assert export.figures["in"] == 7.5
    assert export.figures["bytes_in"] == 500
    assert export.figures["out"] == 4
    assert export.figures["lag"] == 7
    assert export.figures["inflight"] == 150
    assert export.figures["dead_letters"] == 2
    assert export.figures["rss"] == 50e6
    assert export.figures["items"] is None
    assert ingest.figures["items"] == 0
    assert ingest.figures["in"] == 0
    # Nothing was refused, so there is no sample; nothing samples.
    known = {f.name for f in FIGURES} - {"refused", "open", "firing"}
    assert all(ingest.figures[n] is not None or export.figures[n] is not None for n in known)


def test_a_process_that_began_anew_has_no_negative_rates():
    process = ("ingest", "0")
    before = Scrape(0.0, {process: {"process_cpu_seconds_total": 50.0}}, {})
    now = Scrape(2.0, {process: {"process_cpu_seconds_total": 1.0}}, {})
    assert rows(before, now)[0].figures["cpu"] == 0.5
    assert rows(None, now)[0].figures["cpu"] is None


POLICIES = """
sampling:
  policies:
  - {name: errors, match: {status: error}, always: true, exempt: true}
  - {name: rest, budget: {bytes_per_second: 1MB}}
"""


async def test_policies_with_their_targets_over_all_processes():
    settings = load(POLICIES).sampling
    workers = [SampleCounts(), SampleCounts()]

    async def metrics():
        federation = Federation()
        for number, counts in enumerate(workers):
            registry = CollectorRegistry()
            SampleMetrics(registry, counts, Targets(settings))
            federation.add_registry(registry, {"stage": "sample", "worker": str(number)})
        whole = CollectorRegistry()
        whole.register(federation)
        return whole

    async def status():
        return {"processes": [{"stage": "sample", "worker": n, "ready": True} for n in (0, 1)]}

    admin = AdminServer("127.0.0.1:0", metrics, pages={"/status": status})
    await admin.start()
    try:
        async with aiohttp.ClientSession() as session:
            before = await scrape(session, f"http://{admin.endpoint}")
            unknown = PolicyRow("rest", None, None, None, "bytes", 1e6)
            assert [row.policies for row in rows(None, before)] == [(unknown,)] * 2
            for counts in workers:
                counts.kept_traces.update(errors=10, rest=30)
                counts.kept_spans.update(errors=100, rest=300)
                counts.kept_bytes.update(errors=50_000, rest=800_000)
                counts.dropped_traces["rest"] += 70
            workers[1].kept_traces["rest"] += 20
            state = workers[1].partitions[2] = State(open_traces=5)  # held as by an operator
            now = (await scrape(session, f"http://{admin.endpoint}"))._replace(
                time_s=before.time_s + 2
            )
    finally:
        await admin.stop()
    processes = rows(before, now)
    assert [row.figures["open"] for row in processes] == [None, state.open_traces]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(policy_table(processes))
    lines = {line.split()[0]: line.split()[1:] for line in console.export_text().splitlines()}
    assert lines["rest"] == ["40", "70", "300", "1.0", "MB", "800.0", "kB", "80", "%"]
    assert lines["errors"] == ["10", "0", "100"]
    assert {each["policy"] for each in processes[0].as_dict()["policies"]} == {"rest", "errors"}
    assert policy_table(rows(None, Scrape(0.0, {("ingest", "0"): {}}, {}))) is None


async def test_what_windows_hold_open_and_which_alerts_fire():
    windows, detect = WindowCounts(), DetectCounts()
    held = [WindowState(), DetectState()]
    windows.partitions[0], detect.partitions[0] = held
    held[0].open_cells, held[1].alerts = 7, {"pending": 4, "firing": 2, "no_data": 1}

    async def metrics():
        federation = Federation()
        for stage, declare, counts in (
            ("windows", WindowMetrics, windows), ("detect", DetectMetrics, detect),
        ):  # fmt: skip
            registry = CollectorRegistry()
            declare(registry, counts)
            federation.add_registry(registry, {"stage": stage, "worker": "0"})
        whole = CollectorRegistry()
        whole.register(federation)
        return whole

    async def status():
        names = ("windows", "detect", "notify:pager")
        return {"processes": [{"stage": name, "worker": 0, "ready": True} for name in names]}

    admin = AdminServer("127.0.0.1:0", metrics, pages={"/status": status})
    await admin.start()
    try:
        async with aiohttp.ClientSession() as session:
            processes = rows(None, await scrape(session, f"http://{admin.endpoint}"))
    finally:
        await admin.stop()
    assert [(r.stage, r.figures["open"], r.figures["firing"]) for r in processes] == [
        ("windows", 7, None), ("detect", None, 2), ("notify:pager", None, None),
    ]  # fmt: skip


async def test_a_stage_alone():
    registry = CollectorRegistry()
    ingest_registry(registry)
    admin = AdminServer("127.0.0.1:0", registry, readiness=lambda: {"ingest": "no Kafka"})
    await admin.start()
    try:
        async with aiohttp.ClientSession() as session:
            (row,) = rows(None, await scrape(session, f"http://{admin.endpoint}"))
    finally:
        await admin.stop()
    assert (row.stage, row.ready, row.reason) == ("ingest", False, "ingest: no Kafka")


async def test_nobody_there(unused_tcp_port):
    async with aiohttp.ClientSession() as session:
        with pytest.raises(BackendUnavailable, match="does not answer"):
            await scrape(session, f"http://127.0.0.1:{unused_tcp_port}")


async def command(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "topologies.cli.main", "top", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), err.decode()


async def test_command(supervisor):
    url, _ = supervisor
    code, out, err = await command("--url", url, "--once", "--interval", "100ms")
    assert code == 0, err
    assert "export:main#0" in out
    assert "(3 restarts)" in out
    assert "export:main#0: runtime: starting" in out
    code, out, err = await command("--url", url.removeprefix("http://"), "--once", "--json")
    assert code == 0, err
    assert [row["stage"] for row in json.loads(out)] == ["ingest", "export:main"]


async def test_command_without_anybody(unused_tcp_port):
    code, _, err = await command("--url", f"127.0.0.1:{unused_tcp_port}", "--once")
    assert code == 75
    assert "does not answer" in err
