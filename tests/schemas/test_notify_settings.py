"""Targets of notify: four kinds in one place, errors that say where, secrets that stay so."""

from __future__ import annotations

import json

import pytest

from schemas.config import (
    AlertmanagerTarget,
    Config,
    PagerDutyTarget,
    SlackTarget,
    WebhookTarget,
)
from schemas.config.fields import find, is_secret, model_at
from schemas.config.load import load
from schemas.config.reference import effective
from schemas.errors import ConfigurationError

ALL = """
notify:
  targets:
    am: {type: alertmanager, urls: ["http://a:9093/", "https://b/prefix"], headers: {x: s3cret-1}}
    hook: {type: webhook, url: "${env:HOOK}", match: [severity=~critical|error]}
    slack: {type: slack, url: "http://h/s3cret-3", group_wait: 5s}
    pager: {type: pagerduty, routing_key: 12345678, repeat_interval: 2h}
"""


def test_each_kind_is_known_by_its_type() -> None:
    targets = load(ALL, {"HOOK": "http://h/s3cret-2"}).notify.targets
    assert [type(each) for each in targets.values()] == [
        AlertmanagerTarget, WebhookTarget, SlackTarget, PagerDutyTarget,
    ]  # fmt: skip
    am, hook, slack, pager = targets.values()
    assert am.addresses == ("http://a:9093", "https://b/prefix")
    assert hook.addresses == ("http://h/s3cret-2",)
    assert hook.match == ('severity=~"critical|error"',)
    assert isinstance(slack, SlackTarget)
    assert slack.group_wait == 5
    assert isinstance(pager, PagerDutyTarget)
    assert pager.routing_key.get_secret_value() == "12345678", "written without quotes"


def test_secrets_are_in_no_view() -> None:
    config = load(ALL, {"HOOK": "http://h/s3cret-2"})
    shown = json.dumps(effective(config)) + repr(config)
    assert "s3cret" not in shown
    assert "12345678" not in shown
    assert load(json.dumps(effective(Config()))) == Config()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{}", "line 2: notify.targets.slack: needs 'type', which says what it is"),
        ("{type: slak, url: s3cret}",
         "notify.targets.slack: type 'slak' is not one of alertmanager, webhook, slack, "
         "pagerduty; did you mean slack?"),
        ("{type: slack}", "line 2: notify.targets.slack.url: is required"),
        ("{type: slack, url: ftp://s3cret/}",
         "notify.targets.slack.url: ********: a URL is http://host[:port]/"),
        ("{type: slack, url: 'http://s3cret:s3cret@h/'}", "a URL has no user and no fragment"),
        ("{type: slack, urll: s3cret}",
         "notify.targets.slack.urll: no such setting (value ********); did you mean url"),
        ("{type: slack, url: 'http://h/', group_wait: soon}",
         "notify.targets.slack.group_wait: 'soon': a duration is"),
        ("{type: slack, url: 'http://h/', group_interval: 0s}",
         "notify.targets.slack.group_interval: '0s' must be more than 0s"),
        ("{type: slack, url: 'http://h/', group_by: [a, ...]}", "... stands alone"),
        ("{type: slack, url: 'http://h/', group_by: [a, a]}", "names of labels, each once"),
        ("{type: slack, url: 'http://h/', match: [severity]}", "is no matcher"),
        ("{type: slack, url: 'http://h/', match: ['a=~(']}", "not a regular expression"),
        ("{type: slack, url: 'http://h/s3cret', tls: {enabled: true}}",
         "says http:// (plain text) although tls.enabled is true"),
        ("{type: webhook, url: 'http://h/', headers: {Content-Type: a}}",
         "Content-Type is set by the notifier itself"),
        ("{type: webhook, url: 'http://h/', headers: {'a b': s3cret}}", "'a b' is no header name"),
        ("{type: alertmanager, urls: []}", "notify.targets.slack.urls"),
        ("{type: alertmanager, resend_interval: 2m, resolve_after: 3m}",
         "resolve_after is less than twice resend_interval"),
        ("{type: pagerduty, routing_key: ' '}",
         "notify.targets.slack.routing_key: ********: must not be empty"),
        ("{type: pagerduty, routing_key: s3cret, url: nowhere}",
         "notify.targets.slack.url: 'nowhere': a URL is"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(target: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(f"notify: {{targets:\n  {{slack: {target}}}}}")
    assert said in str(raised.value), str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_name_of_a_target_must_fit_a_group() -> None:
    with pytest.raises(ConfigurationError, match="'a b' is no name of a target"):
        load("notify: {targets: {'a b': {type: alertmanager}}}")


def test_fields_are_found_with_and_without_the_type_that_pydantic_adds() -> None:
    place = ("notify", "targets", "slack")
    url = find((*place, "slack", "url"))
    assert url is SlackTarget.model_fields["url"]
    assert model_at((*place, "pagerduty")) is PagerDutyTarget
    assert is_secret(find((*place, "url")) or pytest.fail("not found"))
    assert find((*place, "routing_key")) is PagerDutyTarget.model_fields["routing_key"]
