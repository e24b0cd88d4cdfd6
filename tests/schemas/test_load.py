"""What a configuration file may say, and how it is told that it may not."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import Config
from schemas.config.load import load
from schemas.errors import ConfigurationError

SECRET = "hunter2-correct-horse"


def complaint(text: str, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(text, environment, "file.yaml")
    error = caught.value
    shown = None if error.__suppress_context__ else error.__context__
    assert error.__cause__ is None, "a cause would print the input"
    assert shown is None, "a context would print the input"
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "kafka:\ningest:\n", "\ufeff"])
def test_an_empty_file_is_the_defaults(text: str) -> None:
    assert load(text) == Config()


def test_values_arrive() -> None:
    config = load(
        """
        kafka: {brokers: ["a:1", "b:2"], producer: {compression: lz4}}
        ingest: {linger: 5ms, max_request: 32MiB, tenant_header: x-tenant}
        export:
          backends:
            one: {protocol: grpc, endpoint: "h:4317", headers: {authorization: Bearer x}}
        """
    )
    assert config.kafka.brokers == ("a:1", "b:2")
    assert config.kafka.producer.compression == "lz4"
    assert config.ingest.linger == 0.005
    assert config.ingest.max_request == 32 << 20
    assert config.export.backends["one"].headers["authorization"].get_secret_value() == "Bearer x"


def test_a_section_without_settings_is_its_defaults() -> None:
    config = load("kafka:\n  producer:\n  # compression: lz4\n  brokers:\n  # - a:1\n")
    assert config == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kafka: {producer: {compresion: zstd}}",
         "line 1: kafka.producer.compresion: no such setting (value 'zstd'); "
         "did you mean compression?"),
        ("\ningest:\n  partitions: 3", "line 3: ingest.partitions: no such setting (value 3); "
         "did you mean partitioner or topics.partitions?"),
        ("kafak: {}", "line 1: kafak: no such setting; did you mean kafka?"),
        ("kafka: {producer: {compression: zst}}", "kafka.producer.compression: 'zst' is not one "
         "of none, gzip, snappy, lz4, zstd; did you mean zstd?"),
        ("ingest: {linger: 9s}", "ingest.linger: '9s' must be at most 5s"),
        ("ingest: {linger: fast}", "ingest.linger: 'fast': a duration is a number with a unit"),
        ("runtime: {lane_max: 1KiB}", "runtime.lane_max: '1KiB' must be at least 64KiB"),
        ("kafka: {brokers: [localhost]}", "kafka.brokers: 'localhost' is not host:port"),
        ("runtime: 3", "runtime: 3 is not a section"),
        ("kafka: {brokers: 3}", "kafka.brokers: 3 is not a list"),
        ("topics: {create: maybe}", "topics.create: 'maybe' is not true or false"),
        ("topics: {partitions: many}", "topics.partitions: 'many' is not an integer"),
        ("topics: {partitions: }", "topics.partitions: empty is not an integer"),
        ("ingest: {sources: [{topic: t}]}", "ingest.sources[0].signal: is required"),
        ("ingest: {sources: [{topic: t, signal: trace}]}",
         "ingest.sources[0].signal: 'trace' is not one of traces, metrics, logs; "
         "did you mean traces?"),
        ("kafka: {tls: {cert_file: a}}", "kafka.tls: cert_file and key_file belong together"),
        ("- a", "a configuration is a mapping of sections"),
        ("kafka: [", "not YAML"),
        ("a: b: c", "not YAML"),
        ("a: 1\n---\nb: 2", "not YAML"),
        ("kafka: !!python/object:os.system {}",
         "kafka: tag tag:yaml.org,2002:python/object:os.system is not known here"),
        ("kafka: {client_id: !secret x}", "kafka.client_id: tag !secret is not known here"),
        ("ingest:\n  linger: 1s\n  linger: 2s",
         "line 3: ingest.linger: set twice, first on line 2"),
        ("? [a, b]\n: c", "a key must be a plain word"),
    ],
)  # fmt: skip
def test_an_error_names_path_value_and_what_was_meant(text: str, said: str) -> None:
    assert said in complaint(text)


def test_all_errors_of_a_file_are_told_at_once_in_its_order() -> None:
    message = complaint("kafka:\n  x1: 1\n  client_id: [1]\ningest:\n  linger: 9s\n")
    assert message.splitlines()[0] == "file.yaml: 3 errors"
    assert re.findall(r"line (\d+)", message) == ["2", "3", "5"]


def test_where_text_is_wanted_a_number_is_taken_as_written() -> None:
    config = load(
        "kafka: {client_id: 007, sasl: {mechanism: PLAIN, username: 1e3, password: 0123}}"
    )
    assert config.kafka.client_id == "007"
    assert config.kafka.sasl is not None
    assert config.kafka.sasl.username == "1e3"
    assert config.kafka.sasl.password is not None
    assert config.kafka.sasl.password.get_secret_value() == "0123"


# --- environment ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${env:A}", "x"),
        ("pre-${env:A}-${env:B}", "pre-x-12"),
        ("${env:B}", "12"),
        ("${env:NONE:-d}", "d"),
        ("${env:NONE:-}z", "z"),
        ("${env:A:-d}", "x"),
        ("$${env:A}", "${env:A}"),
        ("a$b", "a$b"),
        ("$$$$", "$$"),
        ("${env:YAML}", "{a: 1}"),
        ("${env:BAD}", "[: {"),
    ],
)
def test_variables_are_filled_into_values(value: str, expected: str) -> None:
    environment = {"A": "x", "B": "12", "YAML": "{a: 1}", "BAD": "[: {"}
    assert load(f"kafka: {{client_id: '{value}'}}", environment).kafka.client_id == expected


def test_variables_are_typed_like_scalars_of_the_file() -> None:
    text = """
    topics: {create: "${env:CREATE}", partitions: "${env:PARTITIONS}"}
    kafka: {brokers: "${env:BROKERS}"}
    """
    config = load(text, {"CREATE": "false", "PARTITIONS": "0x10", "BROKERS": "[a:1, b:2]"})
    assert config.topics.create is False
    assert config.topics.partitions == 16
    assert config.kafka.brokers == ("a:1", "b:2")


def test_a_variable_cannot_add_a_key() -> None:
    evil = "x\n  group_prefix: taken over"
    config = load("kafka:\n  client_id: ${env:EVIL}\n", {"EVIL": evil})
    assert config.kafka.client_id == evil
    assert config.kafka.group_prefix == Config().kafka.group_prefix


@pytest.mark.parametrize("reference", ["${env:1X}", "${file:a}", "${A}", "${env:}", "${env:A:B}"])
def test_a_malformed_reference_is_an_error(reference: str) -> None:
    said = complaint(f"kafka:\n  client_id: '{reference}'\n", A="x")
    assert f"line 2: kafka.client_id: {reference} is not ${{env:NAME}}" in said


def test_a_missing_variable_names_the_path() -> None:
    said = complaint("kafka:\n  client_id: ${env:NOPE}\n")
    assert "line 2: kafka.client_id: environment variable NOPE is not set" in said


# --- secrets -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "kafka: {sasl: {username: u, password: [%s]}}",
        "kafka: {sasl: {username: u, pasword: %s}}",
        "kafka: {sasl: {mechanism: OAUTHBEARER, username: u, password: %s}}",
        "kafka: {sasl: {mechanism: PLAIN, password: %s}}",
        "kafka: {sasl: {username: u, password: {a: %s}}}",
        "kafka: {sasl: %s}",
        "export: {backends: {a: {headers: {authorization: [%s]}}}}",
        "export: {backends: {a: {headers: {authorization: {x: %s}}}}}",
        "export: {backends: {a: {header: {authorization: %s}}}}",
        "export: {backends: {a: {headers: {authorization: \"%s\\n\"}}}}",
        "export: {backends: {a: {endpoint: 'http://u:%s@h:1'}}}",
        "export: {backends: {a: {endpoint: 'ftp://u:%s@h:1', protocol: grpc}}}",
        "kafka: {sasl: {mechanism: OAUTHBEARER, oauth: {token_url: 'x://u:%s@h', client_id: a}}}",
        "kafka: {password: %s}",
        "password: %s",
        "ingest: {clientsecret: %s}",
        "kafka: {sasl: {username: u, password: !%s x}}",
        "kafka: {sasl: {username: u, password: *%s}}",
        "kafka: {sasl: {username: u, password: 'a${%s}'}}",
        "kafka: {brokers: ['u:%s@h']}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("through_environment", [False, True])
def test_no_error_shows_a_secret(text: str, through_environment: bool) -> None:
    value = "${env:SECRET}" if through_environment and "'" not in text else SECRET
    assert SECRET not in complaint(text % value, SECRET=SECRET)


# --- anything ------------------------------------------------------------------------------


def _loads_or_complains(text: str) -> None:
    """Any other exception fails the test."""
    with contextlib.suppress(ConfigurationError):
        assert isinstance(load(text), Config)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("kafkingest:-[]{}&*!|>'\"%@`#?,\n \t$0123.~<é\0"), max_size=80)
)
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    _loads_or_complains(text)


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_keys = st.sampled_from(
    ["kafka", "brokers", "ingest", "grpc", "endpoint", "export", "backends", "a", "tls", "sasl",
     "headers", "signals", "sources", "topic", "linger", "max_request", "topics", "names"]
)  # fmt: skip
_documents = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.dictionaries(_keys, _documents, max_size=4))
def test_any_document_is_a_configuration_or_a_configuration_error(document: object) -> None:
    _loads_or_complains(json.dumps(document))


def test_aliases_of_aliases_are_refused_before_they_fill_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "too large once its aliases are expanded" in complaint("\n".join(lines))


def test_an_alias_inside_itself_is_refused() -> None:
    assert "too large once its aliases are expanded" in complaint("kafka: &k\n  tls: *k\n")


@pytest.mark.parametrize("name", ["", "a b", "\u00fcber", ".", "..", "a/b", "n" * 250])
def test_a_topic_name_that_kafka_would_not_take(name: str) -> None:
    quoted = json.dumps(name)
    for text, path in (
        (f"ingest: {{sources: [{{topic: {quoted}, signal: logs}}]}}", "ingest.sources[0].topic"),
        (f"topics: {{names: {{spans: {quoted}}}}}", "topics.names"),
    ):
        said = complaint(text)
        assert path in said
        assert "is not a legal topic name" in said
