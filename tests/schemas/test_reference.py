"""Pages and views that are generated from the models."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from ruamel.yaml import YAML

import schemas.config
from schemas.config import Config
from schemas.config.fields import find, inner_models, is_secret, model_at, unit_of
from schemas.config.fields import settings as all_settings
from schemas.config.load import load
from schemas.config.problems import MASK
from schemas.config.reference import effective, to_markdown
from schemas.config.units import format_duration, format_size, parse_duration, parse_size

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_page_is_current() -> None:
    page = (DOCS / "configuration.md").read_text()
    assert page == to_markdown(), "otlp-streams config reference > docs/configuration.md"


def test_every_setting_says_what_it_means() -> None:
    mute = [s.path for s in all_settings(Config) if not s.description]
    assert mute == []


def test_every_model_is_reached() -> None:
    def models(model: type[BaseModel], outer: tuple[type[BaseModel], ...] = ()) -> set[str]:
        found = {model.__name__}
        for name in model.model_fields:
            for inner in inner_models(model.model_fields[name].annotation)[0]:
                if inner not in (*outer, model):
                    found |= models(inner, (*outer, model))
        return found

    public = {
        name for name in schemas.config.__all__ if isinstance(getattr(schemas.config, name), type)
    }
    assert models(Config) == public


def test_paths_are_found_again() -> None:
    field = find(("export", "backends", "headers", "headers", "authorization"))
    assert field is not None
    assert is_secret(field)
    assert (
        find(("export", "backends", "protocol"))
        is Config.model_fields["export"].annotation.model_fields["backends"]
    )
    assert model_at(("ingest", "sources", 3)) is schemas.config.KafkaSource
    assert model_at(("kafka", "brokers", 0)) is None
    linger = find(("ingest", "linger"))
    assert linger is not None
    assert unit_of(linger) == "duration"


def test_the_effective_view_is_a_configuration_again() -> None:
    text = "kafka: {brokers: ['a:1']}\ningest: {linger: 7ms, max_request: 3MiB}\n"
    config = load(text)
    out = io.StringIO()
    YAML(typ="safe", pure=True).dump(effective(config), out)
    assert load(out.getvalue()) == config
    assert load(json.dumps(effective(Config()))) == Config()


def test_the_effective_view_masks_every_secret() -> None:
    config = load(
        """
        kafka:
          tls: {cert_file: c, key_file: k, key_password: s3cret-a}
          sasl: {mechanism: OAUTHBEARER, username: u, password: s3cret-b,
                 oauth: {token_url: "http://u:s3cret-c@h/", client_id: i, client_secret: s3cret-d}}
        export: {backends: {a: {headers: {authorization: s3cret-e}}}}
        """
    )
    shown = json.dumps(effective(config))
    assert "s3cret" not in shown
    assert shown.count(MASK) == 5
    assert "s3cret" not in repr(config).replace("s3cret-c", "")


def test_secrets_are_marked_as_such() -> None:
    kinds = {s.path: s.kind for s in all_settings(Config)}
    for path, kind in kinds.items():
        if "password" in path or path.endswith("secret"):
            assert kind == "secret", path
    assert is_secret(schemas.config.Backend.model_fields["headers"])
    assert SecretStr("x") != "x"


@settings(max_examples=200, derandomize=True)
@given(st.integers(0, 10**7))
def test_durations_and_sizes_read_back(number: int) -> None:
    for unit in (1, 1e-3, 1e-6):
        assert parse_duration(format_duration(number * unit)) == pytest.approx(number * unit)
    assert parse_size(format_size(number)) == number
