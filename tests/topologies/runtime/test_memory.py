import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from topologies.runtime.memory import keep_freed_memory
assert sys.argv[1] == "as it is" or keep_freed_memory()
def round():
    return [b"x" * 900_000 for _ in range(5)]
round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    result = subprocess.run(
        [sys.executable, "-c", FAULTS, how], check=True, stdout=subprocess.PIPE, text=True
    )
    return int(result.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="not glibc")
def test_memory_of_a_transaction_serves_the_next_one() -> None:
    assert faults("kept") * 10 < faults("as it is")
