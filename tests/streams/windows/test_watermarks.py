"""When windows are closed: sources that are behind, idle, silent, back, or more than before."""

from __future__ import annotations

from typing import Any

from schemas.batches import Record
from schemas.config import WindowRule, Windows
from tests.streams.windows.some_partials import Cell, Group
from tests.streams.windows.test_cumulative import Host, T, told

SETTINGS = Windows(
    rules=(WindowRule(name="spans", signal="spans", lengths=(10, 60)),), allowed_lateness=5
)
GROUP = Group("spans")


class Sources(Host):
    """An operator with several source partitions."""

    def __init__(self, partitions: int) -> None:
        super().__init__(SETTINGS)
        self.partitions = partitions

    def say(self, partition: int, progress_s: float, *cells_s: float, **header: Any) -> list[int]:
        """What a source says; the ends of 10 s windows that are closed by that, seconds after T."""
        cells = [cell(second) for second in cells_s]
        more = {"topic": "spans", "partition": partition, "partitions": self.partitions}
        now = header.pop("at_s", progress_s)
        made = self.take(progress_s, *cells, **(more | {"now_ms": T + int(now * 1000)} | header))
        return closed(made)

    def tick(self, second: float) -> list[int]:
        """What time alone closes."""
        return closed(list(self.operator.tick(T + int(second * 1000)).records))


def cell(second: float, count: int = 1) -> Cell:
    return Cell(count=count, group=GROUP, pane_ms=T + int(second // 10) * 10_000)


def closed(made: list[Record], length_ms: int = 10_000) -> list[int]:
    ends = []
    for each in made:
        headers = dict(each.headers)
        if "window.closed" in headers:
            _, length, end = headers["window"].decode().split("/")
            if int(length) == length_ms:
                ends.append((int(end) - T) // 1000)
    return ends


def test_a_window_is_closed_when_all_sources_are_beyond_it() -> None:
    host = Sources(2)
    assert host.say(0, 30, 3) == [], "the other has not spoken yet"
    assert host.say(1, 14.9, 4) == [0], "the first of all is the last that is over, if empty"
    assert host.say(1, 15) == [10]
    assert host.say(0, 40) == []
    assert host.say(1, 36) == [20, 30]
    assert host.counts.emitted["spans", 10_000] == 1


def test_windows_with_something_in_them_come_first_of_all() -> None:
    host = Sources(1)
    assert host.say(0, 45, 3) == [10, 20, 30, 40]


def test_nobody_waits_for_an_idle_source() -> None:
    host = Sources(2)
    assert host.say(0, 20, 3, idle=True) == []
    assert host.say(1, 36, 24) == [10, 20, 30]
    assert host.say(0, 40) == [], "it goes on, and was no further than the other"
    assert host.say(1, 46) == []


def test_when_all_are_idle_time_goes_on_by_itself() -> None:
    host = Sources(2)
    host.say(0, 20, 3, idle=True)
    assert host.say(1, 22, idle=True) == [10]
    assert host.tick(23) == []
    assert host.tick(25) == [20]
    assert host.tick(47) == [30, 40]


def test_event_time_that_is_behind_stays_behind_when_all_are_idle() -> None:
    """Items that are an hour old when they come: an idle source does not jump to the present."""
    host = Sources(1)
    host.say(0, 20, 3, at_ms=T + 3_620_000, at_s=3620, idle=True)
    assert host.tick(3625) == [20]
    assert host.tick(3630) == []


def test_a_source_that_is_silent_for_ten_minutes_and_back() -> None:
    host = Sources(2)
    host.say(0, 20, 3)
    host.say(1, 20, 4)
    assert host.say(1, 60) == [], "it is waited for"
    assert host.say(1, 80) == []
    assert host.operator.state.silent_sources == {"spans": 0}
    assert host.say(1, 81) == [20, 30, 40, 50, 60, 70], "then it is not"
    assert host.operator.state.silent_sources == {"spans": 1}
    assert host.counts.timed_out_sources == 1
    for second in range(90, 621, 10):
        host.say(1, second, second)
    windows = host.counts.windows["spans", 10_000]
    # It is back, and where it stopped: all but one of its items are late.
    assert host.say(0, 21, 15, 610, at_s=620) == []
    assert host.counts.late == {("spans", 10_000): 1, ("spans", 60_000): 1}
    assert host.operator.state.silent_sources == {"spans": 0}
    assert host.say(1, 650, at_s=650) == [], "it is waited for again"
    assert host.counts.windows["spans", 10_000] == windows
    assert host.say(0, 650, 611, at_s=650) == [620, 630, 640]
    assert host.counts.timed_out_sources == 1


def test_when_nobody_speaks_nothing_is_closed() -> None:
    host = Sources(1)
    host.say(0, 20, 3)
    assert host.tick(1000) == []
    assert host.operator.state.silent_sources == {"spans": 1}
    assert host.say(0, 20, idle=True, at_s=1001, at_ms=T + 20_000)[-1] == 990


def test_after_an_outage_the_first_that_is_back_does_not_make_the_others_late() -> None:
    host = Sources(3)
    for partition in range(3):
        host.say(partition, 100, 95, idle=True)
    stock = range(110, 700, 10)
    assert host.say(0, 700, *stock, at_s=710) == []
    assert host.operator.state.silent_sources == {"spans": 0}
    assert host.say(1, 700, *stock, at_s=712) == []
    assert host.say(2, 700, *stock, at_s=714)[-1] == 690
    assert host.counts.late == {}
    assert host.counts.skipped == {}


def test_after_an_outage_a_source_that_is_gone_is_waited_for_once_more() -> None:
    host = Sources(2)
    host.say(0, 20, 15)
    host.say(1, 20, 15)
    assert host.say(0, 700, at_s=700) == []
    assert host.say(0, 755, at_s=755) == []
    assert host.say(0, 761, at_s=761)[-1] == 750
    assert host.operator.state.silent_sources == {"spans": 1}


YEAR_S = 365 * 86_400


def test_a_source_whose_clock_is_wrong_does_not_hold_up_the_others() -> None:
    host = Sources(2)
    ends: list[int] = []
    for second in range(0, 100, 5):
        ends += host.say(0, second, second)
        past = second - YEAR_S
        ends += host.say(1, past, past, at_s=second, at_ms=T + second * 1000)
    assert [end for end in ends if end >= 0] == [*range(0, 91, 10)]
    assert host.operator.state.behind_sources == {"spans": 1}
    assert host.counts.late["spans", 10_000] > 0
    assert host.say(1, 100) == [], "its clock is right now"
    assert host.operator.state.behind_sources == {"spans": 0}
    assert host.say(0, 110) == []


def test_a_source_whose_items_have_no_time_does_not_either() -> None:
    host = Sources(2)
    ends: list[int] = []
    for second in range(0, 30, 5):
        ends += host.say(0, second, second)
        ends += host.say(1, 0, at_s=second, progress_ms=0, at_ms=T + second * 1000)
    assert ends == [-10, 0, 10, 20]


def test_when_all_bring_what_is_long_past_they_wait_for_each_other() -> None:
    host = Sources(3)
    at_ms = T + YEAR_S * 1000
    assert host.say(2, 0, progress_ms=0, at_ms=0, idle=True, at_s=YEAR_S) == []
    assert host.say(0, 100, 3, at_ms=at_ms, at_s=YEAR_S) == []
    assert host.say(1, 25, 4, at_ms=at_ms, at_s=YEAR_S) == [10, 20]
    assert host.operator.state.behind_sources == {"spans": 0}


def test_how_far_a_source_is_behind_is_known_after_its_restart() -> None:
    host = Sources(2)
    host.say(0, 20, 3)
    host.say(1, 20, 3)
    host.say(1, 0, at_s=400, at_ms=T + 400_000)
    assert host.say(0, 400)[-1] == 390


def test_a_source_that_never_speaks_is_waited_for_so_long() -> None:
    host = Sources(3)
    assert host.say(0, 30, 3) == []
    assert host.say(1, 85) == []
    assert host.say(0, 91) == [10, 20, 30, 40, 50, 60, 70, 80]
    assert host.operator.state.silent_sources == {"spans": 1}


def test_partitions_that_are_added_are_waited_for() -> None:
    host = Sources(1)
    assert host.say(0, 15, 3) == [10]
    host.partitions = 2
    assert host.say(0, 40) == []
    assert host.say(1, 33, 12) == [20]
    assert host.say(0, 41) == []


def test_a_topic_that_was_made_anew_with_fewer_partitions() -> None:
    host = Sources(2)
    host.say(0, 15, 3)
    host.say(1, 15)
    host.partitions = 1
    host.say(0, 80, idle=True)
    assert host.operator.state.silent_sources == {"spans": 0}
    assert host.say(0, 90)[-1] == 80


def test_a_source_that_was_restarted_is_where_it_was() -> None:
    host = Sources(1)
    assert host.say(0, 15, 3) == [10]
    assert host.say(0, 0, at_ms=0, idle=True, at_s=20) == []
    assert host.tick(26) == [20]


def test_a_late_cell_still_counts_in_longer_windows() -> None:
    host = Sources(1)
    assert host.say(0, 25, 3) == [10, 20]
    host.say(0, 26, 4, 5)
    assert host.counts.late == {("spans", 10_000): 2}
    made = host.take(70, topic="spans")
    calls = {
        dict(each.headers)["window"]: each.value
        for each in made
        if each.topic == "windows" and "window.closed" not in dict(each.headers)
    }
    assert list(calls) == [b"spans/60000/%d" % (T // 60_000 * 60_000 + 60_000)]
    assert [found.as_int for found in told(made).values()] == [3]


def test_of_many_empty_windows_only_the_last_are_told() -> None:
    host = Sources(1)
    host.say(0, 15, 3)
    ends = host.say(0, 10_000)
    assert len(ends) == 100
    assert ends[-1] == 9990
    assert host.counts.skipped["spans", 10_000] == 998 - 100


def test_topics_without_a_rule_are_not_waited_for() -> None:
    host = Sources(1)
    host.take(0, topic="metrics", partitions=7)
    assert host.say(0, 15, 3) == [10]
    assert host.counts.ignored == {}
    host.take(15, cell(12), topic="elsewhere")
    assert host.counts.ignored == {"topic": 1}
