"""Nothing is left to be compiled under the first message."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from numba.core.dispatcher import Dispatcher
from schemas.batches import Batch
from schemas.config.load import load
from schemas.operators import Scanned, Source
from streams import wire
from streams.sampling.records import WorkOrder, decode
from tests.streams.sampling.traffic import Told, request
from topologies.sampling import warming

config = load(
    "sampling: {enabled: true, key: [service, operation, span.fill, status], policies: ["
    "{name: e, match: {status: error}, always: true, exempt: true},"
    "{name: f, match: {attribute: {key: fill, regex: x}}, rate_limit: {traces_per_second: 1}},"
    "{name: rest, budget: {traces_per_second: 1}}]}"
)
value = request([
    Told(1, 1), Told(1, 2, parent=1, error=True),
    Told(2, 1, trace_state="ot=rv:01020304050607,a=b"),
    Told(3, 1, fill=40), Told(0, 1), *(Told(n, 1) for n in range(10, 90)),
])
batch = Batch("s", 0, 7, 5, None, value, (("tenant", b"t"),))


def signatures():
    modules = [m for name, m in sys.modules.items() if name.startswith("streams.")]
    found = {id(f): f for m in modules for f in vars(m).values() if isinstance(f, Dispatcher)}
    return {
        f"{f.py_func.__module__}.{f.__name__} {signature}"
        for f in found.values() for signature in f.signatures
    }


def decided():
    from streams.sampling.sample import Sample

    def sample():
        return Sample(config.sampling, source="s", decisions="d", partition=0, partitions=2)

    operator = sample()
    taken = Scanned(batch, wire.scan_traces(value, strict_ids=False))
    records = [*operator.process(taken).records, *operator.tick(1 << 40).records]
    again = sample()
    again.restore(iter(operator.snapshot()))
    for record in records:
        if record.topic == "d":
            again.recall(Batch("d", 0, 0, 0, None, record.value, ()))
    late = batch._replace(offset=8)
    again.process(Scanned(late, taken.scan))
    return [record.value for record in records if record.topic == "d"]




def carry_out(values):
    from streams.sampling.emit import Emit

    orders = [decode(value) for value in values]
    made = [
        Emit(output="o", max_bytes=1 << 20).process(
            Scanned(batch, order, source=Source(0, [batch]))
        )
        for order in orders if isinstance(order, WorkOrder)
    ]
    assert any(outcome.records for outcome in made)


if sys.argv[1] == "sample":
    warming.warm_up_sample(config)
    before = signatures()
    assert decided()
elif sys.argv[1] == "emit":
    # A process of emit has no kernels of the other stage.
    orders = [bytes.fromhex(line) for line in sys.stdin.read().split()]
    warming.warm_up_emit(config)
    before = signatures()
    carry_out(orders)
else:
    from topologies.kernels import compile_all

    compile_all()  # for whatever is configured later
    before = signatures()
    carry_out(decided())
new = signatures() - before
assert before and not new, sorted(new)
if sys.argv[1] == "sample":
    for value in decided():
        print(value.hex())
"""


def run(stage: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, stage],
        input=given, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(200)
def test_no_kernel_is_compiled_after_the_warm_up() -> None:
    run("emit", run("sample"))


@pytest.mark.timeout(200)
def test_one_command_compiles_what_both_stages_need() -> None:
    run("all")
