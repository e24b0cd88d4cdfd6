"""What each kind of target gets, over real sockets, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from schemas.config import Notify
from schemas.errors import BackendRefused, BackendUnavailable
from streams.edges.notifiers import Notification, Sender, create_sender
from tests.streams.edges.exporters.servers import HttpBackend, tcp_server
from topologies.localkafka.probe import free_ports

from .alerts import alert, notification

KINDS = ("alertmanager", "webhook", "slack", "pagerduty")
SECRET = "T024/s3cret-word"
NOW_S = 1_000_000.0
LINK = "http://alerts.example/"


def settings(kind: str, port: int, **changes: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}"
    of = {
        "alertmanager": {"urls": [url], "headers": {"authorization": f"Bearer {SECRET}"}},
        "webhook": {"url": f"{url}/hook/{SECRET}", "headers": {"x-token": SECRET}},
        "slack": {"url": f"{url}/services/{SECRET}"},
        "pagerduty": {"url": f"{url}/v2/enqueue", "routing_key": SECRET},
    }[kind]
    return {"type": kind, "timeout": "300ms", **of, **changes}


@asynccontextmanager
async def sender(kind: str, port: int, **changes: Any) -> AsyncIterator[Sender]:
    notify = Notify.model_validate(
        {"targets": {"it": settings(kind, port, **changes)}, "external_url": LINK}
    )
    found = create_sender(notify, "it")
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


Answer = Callable[[web.Request], web.Response]


async def sent(
    kind: str, what: Notification, answer: Answer | None = None, **changes: Any
) -> tuple[Mapping[str, BackendRefused], list[Any], list[web.Request]]:
    """What was refused, what came, and how."""

    async def say(request: web.Request) -> web.Response:
        return web.Response() if answer is None else answer(request)

    async with HttpBackend(say).running() as server, sender(kind, server.port, **changes) as it:
        refused = await it.send(what, NOW_S)
    return refused, [json.loads(body) for body in server.bodies], server.requests


BOTH = notification(
    alert("a", at_s=1000, zone="eu"), alert("b", at_s=2000, starts_s=900, firing=False)
)


def rfc3339(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


async def test_an_alertmanager_gets_each_alert_with_an_end_ahead() -> None:
    odd = alert("c", **{"http.route": "/x", "http_route": "/y", "9": "nine", "empty": ""})
    refused, bodies, requests = await sent(
        "alertmanager", notification(*BOTH.alerts, odd), resolve_after="5m"
    )
    assert refused == {}
    assert (requests[0].path, requests[0].method) == ("/api/v2/alerts", "POST")
    assert requests[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert requests[0].headers["Content-Type"] == "application/json"
    (posted,) = bodies
    first, second, third = posted
    assert first["labels"] == {
        "alertname": "HighErrorRatio", "service": "cart", "severity": "critical", "zone": "eu",
        "instance": "a",
    }  # fmt: skip
    assert first["annotations"]["summary"] == "a is <bad>"
    assert rfc3339(first["startsAt"]) == 1000
    assert rfc3339(first["endsAt"]) == NOW_S + 300
    assert first["generatorURL"] == LINK
    assert (rfc3339(second["startsAt"]), rfc3339(second["endsAt"])) == (900, 2000)
    # Names that every release takes, none lost, and no label without a value.
    assert {k: v for k, v in third["labels"].items() if "route" in k or "9" in k} == {
        "http_route": "/x", "http_route_": "/y", "_9": "nine",
    }  # fmt: skip
    assert "empty" not in third["labels"]


async def test_an_alertmanager_is_one_cluster_and_one_member_is_enough() -> None:
    async def say(_request: web.Request) -> web.Response:
        return web.Response()

    dead = free_ports(1)[0]
    async with HttpBackend(say).running() as one, HttpBackend(say).running() as two:
        urls = [f"http://127.0.0.1:{port}" for port in (one.port, dead, two.port)]
        async with sender("alertmanager", 0, urls=urls) as it:
            assert await it.send(BOTH, NOW_S) == {}
    assert len(one.bodies) == len(two.bodies) == 1


async def test_of_alerts_that_are_refused_the_culprits_are_found_and_all_others_taken() -> None:
    taken = []

    async def say(_request: web.Request) -> web.Response:
        names = [each["labels"]["zone"] for each in json.loads(server.bodies[-1])]
        if {"3", "4"} & set(names):
            return web.json_response({"code": 601, "message": "bad label"}, status=400)
        taken.extend(names)
        return web.Response()

    server = HttpBackend(say)
    eight = notification(*(alert(f"a{n}", zone=str(n)) for n in range(8)))
    async with server.running(), sender("alertmanager", server.port) as it:
        refused = await it.send(eight, NOW_S)
    assert set(refused) == {"a3", "a4"}
    assert sorted(taken) == ["0", "1", "2", "5", "6", "7"]
    assert str(refused["a3"]) == "HTTP 400: bad label"


async def test_a_webhook_gets_the_body_of_alertmanagers_version_4() -> None:
    refused, (body,), requests = await sent("webhook", BOTH)
    assert refused == {}
    assert requests[0].path == f"/hook/{SECRET}"
    assert requests[0].headers["X-Token"] == SECRET
    alerts = body.pop("alerts")
    assert body == {
        "version": "4",
        "groupKey": "the-group",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "it",
        "groupLabels": {"service": "cart"},
        "commonLabels": {
            "alertname": "HighErrorRatio", "service": "cart", "severity": "critical",
        },
        "commonAnnotations": {"description": "look & see"},
        "externalURL": LINK,
    }  # fmt: skip
    assert [each["status"] for each in alerts] == ["firing", "resolved"]
    assert alerts[0]["endsAt"] == "0001-01-01T00:00:00Z"
    assert rfc3339(alerts[1]["endsAt"]) == 2000
    assert [each["fingerprint"] for each in alerts] == ["a", "b"]
    assert set(alerts[0]) == {
        "status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint",
    }  # fmt: skip


async def test_a_webhook_is_told_how_many_more_there_are() -> None:
    many = notification(*(alert(f"a{n}") for n in range(7)))
    _, (body,), _ = await sent("webhook", many, notification_max=5)
    assert (len(body["alerts"]), body["truncatedAlerts"]) == (5, 2)


async def test_slack_gets_a_message_without_markup_of_ours() -> None:
    _, (body,), requests = await sent("slack", BOTH)
    assert requests[0].path == f"/services/{SECRET}"
    assert body["text"] == f"*[FIRING: 1]* cart <{LINK}|alerts>"
    first, second = body["attachments"]
    assert first["title"] == "a is &lt;bad&gt;"
    assert "look &amp; see" in first["text"]
    assert "zone=eu" in first["text"]
    assert first["color"] != second["color"]
    assert second["title"].startswith("Resolved: ")
    over = notification(alert("b", firing=False))
    many = notification(*(alert(f"a{n}") for n in range(60)))
    _, (body,), _ = await sent("slack", over)
    assert body["text"].startswith("*[RESOLVED]* cart")
    _, (body,), _ = await sent("slack", many, notification_max=4)
    assert len(body["attachments"]) == 4
    assert "and 56 more" in body["text"]


async def test_pagerduty_gets_one_incident_of_a_group() -> None:
    two = notification(
        alert("a", at_s=1000, severity="info"),
        alert("b", at_s=500, severity="odd", service="pay"),
        alert("c", at_s=900, firing=False),
    )
    _, (event,), requests = await sent("pagerduty", two)
    assert requests[0].path == "/v2/enqueue"
    assert (event["routing_key"], event["dedup_key"]) == (SECRET, "the-group")
    assert event["event_action"] == "trigger"
    payload = event["payload"]
    assert payload["severity"] == "error", "the worst; one that it does not know is an error"
    assert payload["summary"] == "b is <bad> (and 1 more)"
    assert payload["source"] == "cart, pay"
    assert rfc3339(payload["timestamp"]) == 500
    assert payload["class"] == "HighErrorRatio"
    details = payload["custom_details"]
    assert (details["num_firing"], details["num_resolved"]) == (2, 1)
    assert [each["fingerprint"] for each in details["firing"]] == ["a", "b"]
    _, (event,), _ = await sent("pagerduty", notification(alert("a", firing=False)))
    assert event == {
        "routing_key": SECRET, "dedup_key": "the-group", "event_action": "resolve",
    }  # fmt: skip
    long = alert("a")._replace(annotations={"summary": "x" * 5000, "description": "y" * 900_000})
    _, (event,), _ = await sent("pagerduty", notification(*[long] * 200))
    assert len(event["payload"]["summary"]) <= 1024
    assert len(json.dumps(event)) < 512_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [200, 202, 204])
async def test_2xx_is_taken(kind: str, status: int) -> None:
    refused, bodies, _ = await sent(kind, BOTH, lambda _: web.Response(status=status))
    assert refused == {}
    assert len(bodies) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_for_later(kind: str, status: int) -> None:
    answer = web.Response(status=status, text=f"not {SECRET} now", headers={"Retry-After": "7"})
    with pytest.raises(BackendUnavailable, match=f"HTTP {status}") as raised:
        await sent(kind, BOTH, lambda _: answer)
    assert raised.value.retry_after_s == 7
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 410, 413])
async def test_everything_else_is_final(kind: str, status: int) -> None:
    answer = {"Location": "http://127.0.0.1:1/"} if status < 400 else {}
    refused, bodies, _ = await sent(
        kind, BOTH, lambda _: web.Response(status=status, text=f"no {SECRET}", headers=answer)
    )
    assert set(refused) == {"a", "b"}
    assert {error.code for error in refused.values()} == {str(status)}
    assert "s3cret" not in str(refused)
    assert len(bodies) == (3 if kind == "alertmanager" else 1)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_answer_is_for_later_and_shows_nothing(kind: str) -> None:
    async with sender(kind, free_ports(1)[0]) as it:
        with pytest.raises(BackendUnavailable, match="Cannot connect") as raised:
            await it.send(BOTH, NOW_S)
    assert "s3cret" not in str(raised.value)
    assert "s3cret" not in repr(raised.value)

    async def hang_up(reader: Any, _writer: Any) -> None:
        await reader.read(10)

    async def hang(reader: Any, _writer: Any) -> None:
        while await reader.read(1000):
            pass

    for talk, what in ((hang_up, "Disconnected|reset"), (hang, "no answer within 0.3 s")):
        async with tcp_server(talk) as port, sender(kind, port) as it:
            with pytest.raises(BackendUnavailable, match=what):
                await it.send(BOTH, NOW_S)


def test_secrets_are_in_no_view_of_the_settings() -> None:
    notify = Notify.model_validate({"targets": {kind: settings(kind, 1) for kind in KINDS}})
    assert "s3cret" not in repr(notify)
    assert "s3cret" not in str(notify.model_dump())
