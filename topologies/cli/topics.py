"""``topics list|create|check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import ConfigFile

if TYPE_CHECKING:
    from schemas.topics import TopicSpec
    from topologies.kafka import TopicReport

__all__ = ["register"]

_topics = typer.Typer(help="Topics: what is wanted, what is there.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_topics, name="topics")


@_topics.command("list")
def list_(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show every topic: what is on it, whether it is there, and its shape."""
    from topologies.kafka import check_topics

    specs, report = _ask(check_topics, config)
    if as_json:
        _print_json([_described(spec, report) for spec in specs])
        return
    columns = {
        "topic": "topic",
        "state": "state",
        "partitions": "partitions",
        "replication_factor": "replicas",
        "retention": "retention",
        "cleanup_policy": "cleanup",
        "timestamp_type": "time",
        "max_message": "largest message",
        "key": "key",
        "format": "value",
    }
    rows = [_described(spec, report) for spec in specs]
    _print_table(list(columns.values()), [[str(row[column]) for column in columns] for row in rows])


@_topics.command()
def create(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing. Nothing that exists is altered."""
    from topologies.kafka import create_topics

    _, report = _ask(create_topics, config)
    if as_json:
        _print_json(_result(report))
        return
    for name in report.created:
        typer.echo(f"{name}: created, {report.states[name].partitions} partitions")
    if not report.created:
        typer.echo("Every topic is there already.")
    _print_findings(report)


@_topics.command()
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Compare topics with the configuration; exit code 1 if one is missing or differs."""
    from topologies.kafka import check_topics

    specs, report = _ask(check_topics, config)
    if as_json:
        _print_json(_result(report))
    else:
        _print_findings(report)
        if report.fine:
            typer.echo(f"{len(specs)} topics are as configured.")
    if not report.fine:
        raise typer.Exit(1)


def _ask(question: Any, config: Any) -> tuple[tuple[TopicSpec, ...], TopicReport]:
    import asyncio
    import logging

    from schemas.topics import topic_specs
    from topologies.boot import read_config

    # The command ends with one message that says what is wrong; aiokafka's say it in pieces.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    settings, _ = read_config(config)
    specs = topic_specs(settings)
    return specs, asyncio.run(question(settings.kafka, specs))


def _described(spec: TopicSpec, report: TopicReport) -> dict[str, Any]:
    from schemas.config.units import format_duration, format_size

    differs = any(each.topic == spec.name for each in report.differences)
    there = report.states.get(spec.name)
    state = "missing" if there is None else "differs" if differs else "fine"
    return {
        "topic": spec.name,
        "state": state,
        "partitions": there.partitions if there else spec.partitions,
        "replication_factor": there.replication_factor if there else spec.replication_factor,
        "retention": format_duration(spec.retention_s),
        "cleanup_policy": spec.cleanup_policy,
        "timestamp_type": spec.timestamp_type,
        "max_message": format_size(spec.max_message_bytes),
        "key": spec.key,
        "format": spec.format,
        "description": spec.description,
    }


def _result(report: TopicReport) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "created": list(report.created),
        "missing": list(report.missing),
        "differences": [asdict(each) for each in report.differences],
        "warnings": list(report.warnings),
    }


def _print_findings(report: TopicReport) -> None:
    for name in report.missing:
        typer.echo(f"{name}: missing; `otlp-streams topics create` creates it")
    if report.differences:
        rows = [[each.topic, each.setting, each.wanted, each.actual] for each in report.differences]
        _print_table(["topic", "setting", "wanted", "actual"], rows)
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))
