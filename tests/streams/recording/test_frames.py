"""Recordings on disk, and the excerpt that comes with the package."""

import io
import json
from collections import Counter

import pytest
import zstandard

from schemas.errors import MalformedMessage, MessageTooLarge
from schemas.signals import Signal
from streams.recording import frames
from streams.recording.identity import identities
from topologies.demo_data import FILES

from .requests import TYPES


def undecodable(signal, data):
    raise AssertionError("frames need no JSON decoder")


def stored(*requests: bytes) -> bytes:
    out = io.BytesIO()
    assert frames.write(out, requests) == len(requests)
    return out.getvalue()


@pytest.mark.parametrize("compressed", [True, False])
def test_frames_come_back(compressed):
    requests = [b"", b"a" * 10, b"\x0a\x00" * 100_000]
    data = stored(*requests)
    if not compressed:
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    got = list(frames.read(io.BytesIO(data), Signal.LOGS, undecodable))
    assert got == [(Signal.LOGS, request) for request in requests]


def test_concatenated_recordings_are_one():
    data = stored(b"a") + stored(b"b")
    assert [r.data for r in frames.read(io.BytesIO(data), Signal.LOGS, undecodable)] == [b"a", b"b"]


def test_an_empty_file_is_an_empty_recording():
    assert list(frames.read(io.BytesIO(b""), None, undecodable)) == []


@pytest.mark.parametrize("size", [2, 7, 12])
def test_cut_short(size):
    data = zstandard.ZstdDecompressor().decompressobj().decompress(stored(b"abcd", b"efghij"))
    with pytest.raises(MalformedMessage, match="ends inside"):
        list(frames.read(io.BytesIO(data[:size]), Signal.LOGS, undecodable))


def test_a_frame_that_claims_gigabytes_is_refused_unread():
    with pytest.raises(MessageTooLarge, match="FRAME_SIZE_MAX_BYTES"):
        list(frames.read(io.BytesIO(b"\xff\xff\xff\xff12"), Signal.LOGS, undecodable))


def test_frames_need_a_signal():
    with pytest.raises(MalformedMessage, match="signal"):
        list(frames.read(io.BytesIO(stored(b"a")), None, undecodable))


def test_broken_compression():
    data = bytearray(stored(b"abc" * 1000))
    data[8:14] = b"\xff" * 6
    with pytest.raises(MalformedMessage):
        list(frames.read(io.BytesIO(bytes(data)), Signal.LOGS, undecodable))


@pytest.mark.parametrize("compressed", [True, False])
def test_lines_of_the_collectors_file_exporter(compressed):
    lines = [{"resourceSpans": [1]}, {"resourceLogs": []}, {"resourceMetrics": [2, 3]}]
    data = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n\n"
    if compressed:
        data = zstandard.compress(data)
    got = list(frames.read(io.BytesIO(data), None, lambda signal, line: line.strip()))
    assert [r.signal for r in got] == [Signal.TRACES, Signal.LOGS, Signal.METRICS]
    assert [json.loads(r.data) for r in got] == lines


@pytest.mark.parametrize("line", [b"{", b"{}", b'{"resourceSpans":[],"resourceLogs":[]}', b"{1"])
def test_lines_that_are_none(line):
    with pytest.raises(MalformedMessage):
        list(frames.read(io.BytesIO(line), None, lambda signal, data: data))


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("traces.otlp.zst", Signal.TRACES), ("my-logs.jsonl", Signal.LOGS),
        ("otlp_spans.bin", Signal.TRACES), ("METRICS.json", Signal.METRICS),
        ("recording.zst", None), ("logs-and-traces.zst", None),
    ],
)  # fmt: skip
def test_signal_of_a_file_name(name, signal):
    assert frames.guess_signal(name) is signal


def test_the_excerpt_is_what_its_readme_says():
    items, spans, parents, logs = Counter(), Counter(), set(), set()
    for path in FILES:
        signal = frames.guess_signal(path.name)
        with path.open("rb") as stream:
            for _, data in frames.read(stream, signal, undecodable):
                TYPES[signal].FromString(data)
                ids = identities(signal, data)
                items[signal] += len(ids)
                message = TYPES[signal].FromString(data)
                if signal is Signal.TRACES:
                    spans.update(ids)
                    parents |= {
                        s.trace_id + s.parent_span_id
                        for r in message.resource_spans for c in r.scope_spans for s in c.spans
                        if s.parent_span_id
                    }  # fmt: skip
                elif signal is Signal.LOGS:
                    logs |= {
                        s.trace_id
                        for r in message.resource_logs for c in r.scope_logs for s in c.log_records
                    }  # fmt: skip
    assert items == {Signal.TRACES: 8316, Signal.LOGS: 4468, Signal.METRICS: 2622}
    assert max(spans.values()) == 1
    assert len({one[:16] for one in spans}) == 98
    assert parents <= set(spans), "whole traces"
    assert logs <= {one[:16] for one in spans}
    assert sum(path.stat().st_size for path in FILES) < 400_000
