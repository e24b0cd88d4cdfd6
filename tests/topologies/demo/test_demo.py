"""The demonstration as a user runs it, from first to last process."""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager

import psutil
import pytest

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]


@asynccontextmanager
async def demo(*arguments: str):
    """The command, and all processes that it has started by the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "topologies.cli.main", "demo", "--any-ports", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
            await process.communicate()


async def said(process, text: str) -> list[str]:
    """Lines up to one that says ``text``."""
    lines = []
    async with asyncio.timeout(150):  # kernels may have to be compiled
        while not lines or text not in lines[-1]:
            line = await process.stderr.readline()
            assert line, "".join(lines)
            lines.append(line.decode())
    return lines


def family(process) -> list[psutil.Process]:
    """Kafka and the stages; the shell that watches over Kafka sleeps for a while longer."""
    return [p for p in _descendants(process) if p.name() not in ("sh", "dash", "bash")]


def _descendants(process) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def alive(processes) -> list[psutil.Process]:
    _, still = psutil.wait_procs(processes, timeout=20)
    return still


async def test_it_ends_by_itself_and_all_figures_agree(tmp_path):
    truth = tmp_path / "truth.jsonl"
    async with demo(
        "--seconds", "16", "--json", "--truth", str(truth),
        "--incident", "errors:ts-order-service@2s+12s,rate=0.6,ancestors=true",
    ) as process:  # fmt: skip
        lines = await said(process, "telemetry flows")
        started = family(process)
        out, err = await asyncio.wait_for(process.communicate(), 90)
    text = "".join(lines) + err.decode()
    assert process.returncode == 0, text
    result = json.loads(out)
    assert result["agree"]
    assert result["problems"] == []
    for signal_name in ("metrics", "logs"):
        counts = result["signals"][signal_name]
        assert counts["sent"] == counts["acknowledged"] == counts["exported"] > 0
        assert counts["missing"] == counts["foreign"] == 0
    sampling, spans = result["sampling"], result["signals"]["traces"]
    assert sampling["kept"] + sampling["dropped"] == sampling["traces"] > 100
    assert 0 < spans["exported"] < spans["sent"] == spans["acknowledged"]
    assert set(sampling["policies"]) == {"errors", "slow", "fair-share"}
    assert sampling["policies"]["fair-share"]["dropped"] == sampling["dropped"] > 0
    # What the truth says was slow or failed was kept for it.
    assert sampling["injected"]["errors"]["kept"] > 0
    assert (
        sampling["injected"]["errors"]["dropped"] == sampling["injected"]["latency"]["dropped"] == 0
    )
    off = sampling["estimate"] - sampling["traces"]
    assert abs(off) < 6 * sampling["estimate_sigma"] + 5
    windows = result["windows"]
    assert windows["spans"] + windows["late"] == spans["acknowledged"]
    assert windows["late"] < 0.5 * spans["acknowledged"]  # none, but where the machine is busy
    assert windows["exported_points"] > 0
    assert "ManyErrors" in result["incident"]["noticed_s"]
    fired = {each["rule"] for each in result["alerts"] if each["state"] == "firing"}
    assert "ManyErrors" in fired
    assert "ALERT firing: ManyErrors (critical)" in text
    kinds = [json.loads(line)["kind"] for line in truth.read_text().splitlines()]
    assert {"errors", "latency"} == set(kinds)
    assert "Kafka is ready" in text
    assert "of 15 traces/s" in text
    assert len(started) >= 8  # Kafka and seven stages
    assert alive(started) == []


async def test_without_sampling_all_that_was_sent_arrives(tmp_path):
    config = tmp_path / "all.yaml"
    config.write_text("sampling: {enabled: false}")
    async with demo(
        "--seconds", "4", "--json", "--rate", "1500", "--config", str(config),
        "--inject", "none", "--incident", "none",
    ) as process:  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 150)
    assert process.returncode == 0, err.decode()
    result = json.loads(out)
    assert "sampling" not in result
    for counts in result["signals"].values():
        assert counts["sent"] == counts["acknowledged"] == counts["exported"] > 0
        assert counts["missing"] == counts["foreign"] == 0
    assert result["signals"]["traces"]["sent"] > 1000


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("Apache Kafka", signal.SIGINT),
        ("stages start", signal.SIGTERM),
        ("telemetry flows", signal.SIGINT),
    ],
)
async def test_a_signal_in_any_phase_leaves_nothing(phase, number):
    async with demo() as process:
        await said(process, phase)
        started = family(process)
        process.send_signal(number)
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    assert "ended" in err.decode()
    assert ("exported" in out.decode()) == (phase == "telemetry flows")
    assert alive(started) == []


async def test_a_second_signal_waits_for_nothing():
    async with demo() as process:
        await said(process, "telemetry flows")
        started = family(process)
        stages = [p for p in started if "run" in p.cmdline()]
        for stage in stages:
            stage.suspend()  # nothing is answered any more, nothing ends by SIGTERM
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.5)  # two signals at once would be one
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.3)
        _, err = await asyncio.wait_for(process.communicate(), 30)
    assert len(stages) == 7
    assert process.returncode == 1, err.decode()
    assert alive(started) == []


async def test_a_wrong_injection_is_said_before_anything_starts():
    async with demo("--inject", "erors:a@1s+1s") as process:
        _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 78
    assert "did you mean errors" in err.decode()
    assert "Kafka" not in err.decode()


async def test_nor_does_a_kill():
    async with demo() as process:
        await said(process, "stages are ready")
        started = family(process)
        process.kill()
        await process.communicate()
    assert len(started) >= 3
    assert alive(started) == []
