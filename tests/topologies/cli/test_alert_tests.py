"""``alerts test`` and ``alerts rules check|builtin`` as a shell sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.config.load import load_rules
from schemas.errors import ConfigurationError
from streams.alerts.builtin import builtin_rules
from topologies.cli.main import app

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
RULES, TESTS = EXAMPLES / "alert_rules.yaml", EXAMPLES / "alert_rules_test.yaml"


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["alerts", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_tests_that_succeed() -> None:
    assert run("test", TESTS) == (0, f"{TESTS}: SUCCESS (6 checks)\n")


def test_tests_that_fail_are_told_of_and_others_still_run(tmp_path: Path) -> None:
    (tmp_path / "alert_rules.yaml").write_text(RULES.read_text().replace("500ms", "800ms"))
    failing = tmp_path / "tests.yaml"
    failing.write_text(TESTS.read_text())
    code, output = run("test", failing, TESTS)
    assert code == 1
    head, *lines, last = output.splitlines()
    assert head == f"{failing}: FAILED (2 of 6 checks)"
    assert "  slow for two minutes: CheckoutSlow at 4m:" in lines
    assert any(line.startswith('    - firing {service="checkout"') for line in lines)
    assert last == f"{TESTS}: SUCCESS (6 checks)"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        run("test", tmp_path / "none.yaml")
    alone = tmp_path / "tests.yaml"
    alone.write_text(TESTS.read_text())
    with pytest.raises(ConfigurationError, match=r"alert_rules\.yaml: No such file"):
        run("test", alone)
    (tmp_path / "alert_rules.yaml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        run("test", alone)


def test_rules_are_checked_against_the_windows_of_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "otlp-streams.yaml"
    config.write_text("{}")
    code, output = run("rules", "check", RULES, "--config", config)
    assert code == 0
    assert output.startswith(f"{RULES} is fine: CheckoutSlow, ErrorsOften; and ")
    config.write_text("windows: {rules: [{name: services, signal: spans}]}")
    with pytest.raises(ConfigurationError, match=r"line \d+: alerts\.rules\[0\]\.on\.window"):
        run("rules", "check", RULES, "--config", config)


def test_the_built_in_rules_can_be_printed_and_loaded() -> None:
    code, output = run("rules", "builtin")
    assert code == 0
    assert load_rules(output) == builtin_rules()
