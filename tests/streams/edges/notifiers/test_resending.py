"""What an Alertmanager gets, in virtual time."""

from __future__ import annotations

from schemas.config import AlertmanagerTarget
from streams.edges.notifiers import Alert
from streams.edges.notifiers.resending import Resends

from .alerts import alert
from .test_grouping import silenced

AGAIN = 10


def resends(**changes: object) -> Resends:
    return Resends(
        AlertmanagerTarget.model_validate(
            {"type": "alertmanager", "resend_interval": AGAIN, "resolve_after": 40, **changes}
        )
    )


def run(
    plan: Resends, events: dict[int, list[Alert]], until: int, away: range = range(0)
) -> list[tuple[int, str, bool, bool]]:
    heard = []
    for now in range(until):
        for each in events.get(now, ()):
            plan.take(each, now)
        failed = []
        while (due := plan.next(now)) is not None:
            if now in away and due.alerts:
                failed.append(due)
                continue
            heard += [(now, a.fingerprint, a.firing, due.repeated) for a in due.alerts]
            plan.settle(due, now, told=True)
        for due in failed:
            plan.settle(due, now + 1, told=False)
    return heard


def test_news_is_sent_at_once_and_again_while_it_fires() -> None:
    events = {0: [alert("a")], 23: [alert("a", firing=False, at_s=23)]}
    plan = resends()
    assert run(plan, events, 60) == [
        (0, "a", True, False),
        (10, "a", True, True),
        (20, "a", True, True),
        (23, "a", False, False),
    ]
    assert len(plan) == 0


def test_after_an_hour_away_the_latest_state_of_each_is_sent_once() -> None:
    events = {
        n: [alert(name, firing=n % 2 == 0, at_s=n) for name in ("a", "b")] for n in range(50, 151)
    }
    heard = run(resends(), events, 165, range(40, 155))
    assert heard == [(155, "a", True, False), (155, "b", True, False)]


def test_many_go_in_batches() -> None:
    plan = resends(batch_max=3)
    for n in range(7):
        plan.take(alert(f"a{n}"), 0)
    batches = []
    while (due := plan.next(0)) is not None:
        batches.append(len(due.alerts))
    assert batches == [3, 3, 1]


def test_what_is_silenced_is_not_sent_but_its_end_is() -> None:
    plan = resends()
    plan.muting = silenced((5, 100))
    events = {0: [alert("a")], 6: [alert("b", at_s=6)], 30: [alert("a", firing=False, at_s=30)]}
    assert run(plan, events, 60) == [(0, "a", True, False), (30, "a", False, False)]
    assert "b" in plan, "it is sent when the silence is over"


def test_without_send_resolved_the_end_is_not_sent() -> None:
    plan = resends(send_resolved=False)
    events = {0: [alert("a")], 5: [alert("a", firing=False, at_s=5)]}
    assert run(plan, events, 40) == [(0, "a", True, False)]
    assert len(plan) == 0


def test_what_fired_before_the_start_is_sent_at_once_and_is_no_news() -> None:
    plan = resends()
    plan.recall(alert("a", at_s=-500), 0)
    assert run(plan, {}, 5) == [(0, "a", True, True)]


def test_what_comes_while_it_is_sent_is_sent_after_it() -> None:
    plan = resends()
    plan.take(alert("a"), 0)
    first = plan.next(0)
    assert first is not None
    plan.take(alert("a", firing=False, at_s=1), 1)
    assert plan.next(5) is None
    plan.settle(first, 5, told=True)
    second = plan.next(5)
    assert second is not None
    assert [a.firing for a in second.alerts] == [False]
