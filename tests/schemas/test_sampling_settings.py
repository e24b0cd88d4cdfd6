"""What a configuration may say about sampling, and how it is told that it may not."""

from __future__ import annotations

import pytest

from schemas.config import Config, Sampling
from schemas.config.load import load
from schemas.config.matching import SPAN_CONDITIONS_MAX, span_conditions
from schemas.config.reference import effective
from schemas.config.sampling import adjustable
from schemas.errors import ConfigurationError

EXAMPLE = """
sampling:
  enabled: true
  key: [service, operation, status, resource.deployment.environment.name]
  policies:
    - {name: health, match: {operation: {regex: "^GET /health"}}, never: true}
    - {name: slow, match: {latency: {min: 2s}}, weight: 5}
    - {name: errors, match: {status: error}, always: true, exempt: true}
    - name: shop
      match:
        or:
          - {service: [cart, checkout], root: true}
          - {attribute: {key: http.response.status_code, min: 500}}
        not: {attribute: {where: resource, key: test, equals: true}}
      aimd: {base: 0.5, latency: 300ms, error_rate: 0.05}
    - {name: batch, match: {service: batch}, rate_limit: {traces_per_second: 10}}
    - {name: rest, budget: {traces_per_second: 1000, minimum: 1, burst: 200ms}}
"""


def policy(text: str) -> Sampling:
    return load(f"sampling:\n  policies:\n    - {text}\n").sampling


def complaint(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(text, {}, "file.yaml")
    return str(caught.value)


def test_policies_arrive_in_order() -> None:
    sampling = load(EXAMPLE).sampling
    assert [(p.name, p.action) for p in sampling.policies] == [
        ("health", "never"),
        ("slow", "weight"),
        ("errors", "always"),
        ("shop", "aimd"),
        ("batch", "rate_limit"),
        ("rest", "budget"),
    ]
    shop = sampling.policies[3].match
    assert shop is not None
    assert shop.or_ is not None
    assert shop.or_[0].service is not None
    assert shop.or_[0].service.one_of == ("cart", "checkout")
    assert shop.not_ is not None


def test_enabled_alone_has_a_budget() -> None:
    (only,) = load("sampling: {enabled: true}").sampling.policies
    assert only.action == "budget"
    assert only.match is None


def test_what_was_loaded_can_be_shown_and_loaded_again() -> None:
    config = load(EXAMPLE)
    shown = effective(config)["sampling"]
    assert "not" in shown["policies"][3]["match"], "as a file has it, not as Python has"
    assert Config.model_validate({"sampling": shown}) == config


def test_shorthands_are_what_they_stand_for() -> None:
    assert policy("{name: a, match: {service: x}, never: true}") == policy(
        "{name: a, match: {service: {equals: x}}, never: true}"
    )
    assert policy("{name: a, match: {status: ok}, never: true}") == policy(
        "{name: a, match: {status: [ok]}, never: true}"
    )
    assert policy("{name: a, match: {attribute: {key: k, exists: true}}, never: true}") == policy(
        "{name: a, match: {attribute: [{key: k, exists: true}]}, never: true}"
    )


def test_a_name_that_looks_like_a_number_is_a_name() -> None:
    match = policy("{name: a, match: {service: 1.10}, never: true}").policies[0].match
    assert match is not None
    assert match.service is not None
    assert match.service.equals == "1.10"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{name: a, mtch: {}, always: true}",
         "policies[0].mtch: no such setting; did you mean match?"),
        ("{name: a, budgt: {}}", "policies[0].budgt: no such setting; did you mean budget?"),
        ("{name: a}", "needs exactly one of always, never, probability"),
        ("{name: a, always: true, never: true}", "says always and never, but needs exactly one"),
        ("{name: a, always: false}", "policies[0].always: False"),
        ("{name: a, probability: 1.5}", "policies[0].probability: 1.5 must be at most 1"),
        ("{name: a, probability: 0}", "policies[0].probability: 0 must be more than 0"),
        ("{name: a b, always: true}", "policies[0].name: 'a b'"),
        ("{name: default, always: true}", "no policy can be called default"),
        ("{name: a, never: true, exempt: true}", "exempt means nothing for a policy with never"),
        ("{name: a, match: {}, always: true}", "has no condition; leave `match` away"),
        ("{name: a, match: {status: eror}, always: true}", "'eror' is not one of unset, ok, error; "
         "did you mean error?"),
        ("{name: a, match: {status: []}, always: true}", "match.status: must not be empty"),
        ("{name: a, match: {operation: {regex: '('}}, always: true}",
         "match.operation.regex: '(': not a regular expression (RE2 syntax): missing )"),
        ("{name: a, match: {operation: {regex: '(?=a)'}}, always: true}",
         "not a regular expression"),
        ("{name: a, match: {not: {latency: {mn: 2s}}}, always: true}",
         "policies[0].match.not.latency.mn: no such setting (value '2s'); did you mean min?"),
        ("{name: a, match: {latency: {min: 3s, max: 2s}}, always: true}",
         "match.latency: min is more than max"),
        ("{name: a, match: {latency: {}}, always: true}", "match.latency: needs min, max or both"),
        ("{name: a, match: {or: [{status: ok}, {servce: x}]}, always: true}",
         "match.or[1].servce: no such setting (value 'x'); did you mean service?"),
        ("{name: a, match: {attribute: {key: x}}, always: true}",
         "says nothing, but needs exactly one of equals, one_of, regex, exists, or min and max"),
        ("{name: a, match: {attribute: {key: x, exists: false}}, always: true}", "under `not`"),
        ("{name: a, match: {attribute: {key: x, min: 1, regex: a}}, always: true}",
         "regex cannot stand beside min and max"),
        ("{name: a, match: {attribute: {key: x, equals: {b: 1}}}, always: true}",
         "a text, a number, true or false is needed here"),
        ("{name: a, match: {service: {equals: x, regex: y}}, always: true}",
         "says equals and regex, but needs exactly one of equals, one_of, regex"),
        ("{name: a, budget: {traces_per_second: 1, bytes_per_second: 1MB}}",
         "policies[0].budget: says traces_per_second and bytes_per_second"),
        ("{name: a, budget: {}}", "policies[0].budget: says not how much"),
        ("{name: a, rate_limit: {spans_per_secnd: 1}}", "did you mean spans_per_second?"),
        ("{name: a, aimd: {base: 0.5}}", "policies[0].aimd: needs latency, error_rate or both"),
        ("{name: a, match: {status: ok}, weight: 3}", "is for a budget, and none is below"),
    ],
)  # fmt: skip
def test_wrong_policies_are_explained(text: str, said: str) -> None:
    assert said in complaint(f"sampling:\n  policies:\n    - {text}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{key: [servce]}", "sampling.key[0]: 'servce' is not one of service, operation"),
        ("{key: [servce]}", "did you mean service?"),
        ("{key: [tenant, service]}", "sampling.key[0]: 'tenant': the tenant is always part"),
        ("{key: [service, service]}", "sampling.key: 'service' stands there twice"),
        ("{key: [span.]}", "'span.' is not one of"),
        ("{root_wait: 20s}", "root_wait is more than decision_wait"),
        ("{policies: []}", "sampling.policies: must not be empty"),
        ("{policies: [{name: a, never: true}, {name: b, always: true}]}",
         "b is never reached: a takes every trace"),
        ("{policies: [{name: a, match: {status: ok}, never: true}, {name: a, always: true}]}",
         "two policies are called a"),
    ],
)  # fmt: skip
def test_wrong_settings_are_explained(text: str, said: str) -> None:
    assert said in complaint(f"sampling: {text}")


def test_conditions_about_spans_are_counted_once_each() -> None:
    same = "{name: NAME, match: {service: a, latency: {min: LATENCY}}, never: true}"
    texts = [same.replace("NAME", f"p{i}").replace("LATENCY", f"{i + 1}s") for i in range(40)]
    sampling = load(f"sampling: {{policies: [{', '.join(texts)}]}}").sampling
    assert len(span_conditions([p.match for p in sampling.policies])) == 1


def test_there_are_not_more_conditions_than_bits() -> None:
    texts = [
        f"{{name: p{i}, match: {{service: s{i}}}, never: true}}"
        for i in range(SPAN_CONDITIONS_MAX + 1)
    ]
    assert f"at most {SPAN_CONDITIONS_MAX}" in complaint(
        f"sampling: {{policies: [{', '.join(texts)}]}}"
    )


def test_an_error_anywhere_needs_no_condition() -> None:
    sampling = policy("{name: a, match: {status: error}, always: true}")
    assert span_conditions([p.match for p in sampling.policies]) == []


def test_numbers_can_be_set_at_run_time() -> None:
    found = {a.name: a for a in adjustable(load(EXAMPLE).sampling)}
    assert found["sampling.rest.traces_per_second"].default == 1000.0
    assert found["sampling.slow.weight"].default == 5.0
    assert found["sampling.shop.base"].default == 0.5
    assert found["sampling.batch.traces_per_second"].default == 10.0
    assert all(a.description for a in found.values())
