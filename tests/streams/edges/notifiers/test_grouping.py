"""Groups against a plain model of Alertmanager's, second by second, and what must hold always."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import WebhookTarget
from schemas.records.silences import Silences
from streams.edges.notifiers import Alert, Notification
from streams.edges.notifiers.grouping import Groups
from streams.edges.notifiers.matching import Muting

from .alerts import alert

WAIT, INTERVAL, REPEAT = 3, 7, 21


def target(**changes: object) -> WebhookTarget:
    return WebhookTarget.model_validate(
        {
            "type": "webhook", "url": "http://127.0.0.1/", "group_by": ["service"],
            "group_wait": WAIT, "group_interval": INTERVAL, "repeat_interval": REPEAT, **changes,
        }
    )  # fmt: skip


def silenced(*times: tuple[int, int], matcher: str = "service=cart") -> Muting:
    of = [
        {
            "id": str(n), "matchers": [matcher], "starts_at": start, "ends_at": end, "who": "me",
        }
        for n, (start, end) in enumerate(times)
    ]  # fmt: skip
    return Muting(Silences.model_validate({"silences": of}).silences)


class Said(NamedTuple):
    """A notification as a target sees it."""

    at_s: int
    group: str
    firing: frozenset[str]
    resolved: frozenset[str]


def said(at_s: int, notification: Notification) -> Said:
    fires = frozenset(a.fingerprint for a in notification.alerts if a.firing)
    return Said(
        at_s,
        notification.labels["service"],
        fires,
        frozenset(a.fingerprint for a in notification.alerts) - fires,
    )


# --- by hand -------------------------------------------------------------------------------


def run(groups: Groups, events: dict[int, list[Alert]], until: int) -> list[Said]:
    """Every second what comes, then what is due."""
    heard = []
    for now in range(until):
        for each in events.get(now, ()):
            groups.take(each, now)
        while (due := groups.next(now)) is not None:
            if due.alerts:
                heard.append(said(now, due))
            groups.settle(due, now, told=True)
    return heard


def names(*fingerprints: str) -> frozenset[str]:
    return frozenset(fingerprints)


def test_a_new_group_waits_and_changes_come_at_intervals() -> None:
    events = {
        0: [alert("a")],
        2: [alert("b", at_s=2)],
        4: [alert("c", at_s=4)],
        12: [alert("a", firing=False, at_s=12)],
    }
    assert run(Groups(target()), events, 18) == [
        (3, "cart", names("a", "b"), names()),
        (10, "cart", names("a", "b", "c"), names()),
        (17, "cart", names("b", "c"), names("a")),
    ]


def test_an_old_alert_of_a_new_group_is_told_at_once() -> None:
    events = {9: [alert("a", at_s=1)]}
    assert run(Groups(target()), events, 12) == [(9, "cart", names("a"), names())]


def test_what_still_fires_is_repeated_at_a_look_after_the_interval() -> None:
    heard = run(Groups(target()), {0: [alert("a")]}, 60)
    # Looks are at 3, 10, 17, 24 (3 + 21 is not over), 31, ...
    assert [each.at_s for each in heard] == [3, 31, 59]


def test_what_was_over_before_it_was_due_nobody_hears_of() -> None:
    events = {0: [alert("a")], 2: [alert("a", firing=False, at_s=2)]}
    groups = Groups(target())
    assert run(groups, events, 30) == []
    assert len(groups) == 0


def test_without_send_resolved_nobody_hears_that_it_is_over_but_when_it_comes_back() -> None:
    events = {
        0: [alert("a")],
        4: [alert("a", firing=False, at_s=4)],
        20: [alert("a", at_s=20)],
    }
    heard = run(Groups(target(send_resolved=False)), events, 40)
    assert heard == [(3, "cart", names("a"), names()), (23, "cart", names("a"), names())]


def test_a_silenced_alert_is_told_of_when_the_silence_is_over() -> None:
    groups = Groups(target())
    groups.muting = silenced((0, 15))
    assert run(groups, {0: [alert("a")]}, 30) == [(17, "cart", names("a"), names())]


def test_the_end_of_what_was_told_is_told_although_it_is_silenced() -> None:
    groups = Groups(target())
    groups.muting = silenced((5, 100))
    events = {0: [alert("a")], 6: [alert("a", firing=False, at_s=6)]}
    assert run(groups, events, 40) == [
        (3, "cart", names("a"), names()),
        (10, "cart", names(), names("a")),
    ]


def test_what_was_to_be_told_while_the_target_was_away_is_told_although_it_is_over() -> None:
    groups = Groups(target())
    groups.take(alert("a"), 0)
    tried = groups.next(3)
    assert tried is not None
    assert tried.firing
    groups.settle(tried, 4, told=False)
    assert groups.due_s() == 4
    for n in range(5, 205, 2):
        groups.take(alert("a", firing=False, at_s=n), n)
        groups.take(alert("a", at_s=n + 1), n + 1)
    groups.take(alert("a", firing=False, at_s=210), 210)
    back = groups.next(210)
    assert back is not None
    assert said(210, back) == (210, "cart", names(), names("a"))
    assert back.settles == (("a", "a-over-210"),)
    groups.settle(back, 210, told=True)
    assert len(groups) == 0
    assert groups.due_s() is None


def test_what_comes_while_it_is_told_is_not_lost() -> None:
    groups = Groups(target())
    groups.take(alert("a"), 0)
    first = groups.next(3)
    assert first is not None
    groups.take(alert("a", firing=False, at_s=4), 4)
    assert groups.next(100) is None, "one at a time of a group"
    groups.settle(first, 5, told=True)
    second = groups.next(10)
    assert second is not None
    assert said(10, second) == (10, "cart", names(), names("a"))


def test_groups_are_by_labels_and_three_dots_are_all_of_them() -> None:
    both = [alert("a", service="cart", zone="1"), alert("b", service="cart", zone="2")]
    assert {s.firing for s in run(Groups(target()), {0: both}, 5)} == {names("a", "b")}
    single = run(Groups(target(group_by=["..."])), {0: both}, 5)
    assert {s.firing for s in single} == {names("a"), names("b")}
    keys = set()
    for _ in range(2):
        groups = Groups(target())
        groups.take(both[0], 0)
        found = groups.next(WAIT)
        assert found is not None
        keys.add(found.key)
    assert len(keys) == 1, "the same in every process"


# --- a restart -----------------------------------------------------------------------------


def test_what_fired_before_the_start_is_not_told_again_but_repeated_in_time() -> None:
    groups = Groups(target())
    groups.recall(alert("a", at_s=0), 25)
    groups.recall(alert("b", at_s=10), 25)
    heard = []
    for now in range(25, 80):
        while (due := groups.next(now)) is not None:
            if due.alerts:
                heard.append((now, due.repeated))
            groups.settle(due, now, told=True)
    # Of a it was repeated at 21: the next one is due when 21 more are over, at a look.
    assert heard == [(49, True), (77, True)]


def test_what_comes_again_after_the_start_was_not_committed_and_is_told_again() -> None:
    groups = Groups(target())
    groups.recall(alert("a", at_s=0), 25)
    groups.take(alert("a", at_s=0), 25, maybe_told=True)
    assert groups.due_s() == 25
    due = groups.next(25)
    assert due is not None
    assert said(25, due).firing == names("a")
    groups.settle(due, 25, told=True)
    groups.take(alert("b", firing=False, at_s=26), 26, maybe_told=True)
    due = groups.next(32)
    assert due is not None
    assert said(32, due) == (32, "cart", names("a"), names("b")), "it may be open there"


def test_what_was_silenced_before_the_start_is_told_of_when_that_is_over() -> None:
    groups = Groups(target())
    groups.muting = silenced((0, 40))
    groups.recall(alert("a", at_s=5), 25)
    heard = []
    for now in range(25, 60):
        while (due := groups.next(now)) is not None:
            if due.alerts:
                heard.append(now)
            groups.settle(due, now, told=True)
    assert heard == [42]


# --- against a model -----------------------------------------------------------------------


class _ModelGroup:
    def __init__(self, next_s: int) -> None:
        self.next_s, self.flushed = next_s, False
        self.alerts: dict[str, Alert] = {}
        self.entry: tuple[set[str], set[str], int] | None = None
        self.open: set[str] = set()


class Model:
    """Alertmanager's aggrGroup and DedupStage as they are written there, polled every second."""

    def __init__(self, muted: range, resolved: bool) -> None:
        self.groups: dict[str, _ModelGroup] = {}
        self.muted, self.resolved = muted, resolved

    def second(self, now: int, news: list[Alert], up: bool) -> list[Said]:
        for each in news:
            group = self.groups.setdefault(each.labels["service"], _ModelGroup(now + WAIT))
            group.alerts[each.fingerprint] = each
            if not group.flushed and each.starts_s + WAIT < now:
                group.next_s = now
        found = []
        for name, group in sorted(self.groups.items()):
            if group.next_s <= now:
                found += self._flush(now, name, group, up)
        self.groups = {name: group for name, group in self.groups.items() if group.alerts}
        return found

    def _flush(self, now: int, name: str, group: _ModelGroup, up: bool) -> list[Said]:
        group.flushed, group.next_s = True, now + INTERVAL
        heard = {
            fp: a
            for fp, a in group.alerts.items()
            if not (name == "cart" and now in self.muted) or (not a.firing and fp in group.open)
        }
        firing = {fp for fp, a in heard.items() if a.firing}
        over = heard.keys() - firing
        found = []
        if heard and self._needs(now, group, firing, over):
            if firing or self.resolved:
                group.open |= firing
                if not up:
                    group.next_s = now + 1  # whoever fails is asked every second here
                    return []
                found.append(
                    Said(now, name, frozenset(firing), frozenset(over if self.resolved else ()))
                )
                group.open -= over
            group.entry = (firing, set(over), now)
        for fp in [fp for fp, a in group.alerts.items() if not a.firing]:
            del group.alerts[fp]
            group.open.discard(fp)
        return found

    def _needs(self, now: int, group: _ModelGroup, firing: set[str], over: set[str]) -> bool:
        if self.resolved and over & group.open:
            return True
        if group.entry is None:
            return bool(firing)
        told_firing, told_over, at = group.entry
        if not firing <= told_firing:
            return True
        if not firing:
            return bool(told_firing)
        if self.resolved and not over <= told_over:
            return True
        return at < now - REPEAT


TRANSITIONS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from("abcd"), st.booleans(), st.integers(0, 6)),
    max_size=25,
)


@settings(max_examples=300, derandomize=True)
@given(
    TRANSITIONS,
    st.sets(st.integers(0, 90), max_size=40),
    st.tuples(st.integers(0, 50), st.integers(1, 30)),
    st.booleans(),
)
def test_any_course_of_things_is_told_as_alertmanager_would(
    transitions: list[tuple[int, str, bool, int]],
    away: set[int],
    muted: tuple[int, int],
    resolved: bool,
) -> None:
    mute = range(muted[0], sum(muted))
    groups, model = Groups(target(send_resolved=resolved)), Model(mute, resolved)
    groups.muting = silenced((mute.start, mute.stop))
    end = 160
    # All is over in the end, and the target is there.
    course = [*transitions, *((70, name, False, 0) for name in "abcd")]
    believed: set[str] = set()
    for now in range(end):
        news = [
            alert(
                name, firing=firing, at_s=at, starts_s=at - age,
                service="cart" if name in "ab" else "pay",
            )
            for at, name, firing, age in sorted(course, key=lambda each: each[0])
            if at == now
        ]  # fmt: skip
        up = now not in away
        expected = model.second(now, news, up)
        for each in news:
            groups.take(each, now)
        heard, failed = [], []
        while (due := groups.next(now)) is not None:
            if due.alerts and not up:
                failed.append(due)
                continue
            if due.alerts:
                heard.append(said(now, due))
            groups.settle(due, now, told=True)
        for due in failed:
            groups.settle(due, now + 1, told=False)
        assert sorted(heard) == sorted(expected), now
        for each in heard:
            believed |= each.firing
            believed -= each.resolved
    if resolved:
        assert not believed, "nothing stays open"
    assert len(groups) == 0
    assert groups.due_s() is None
