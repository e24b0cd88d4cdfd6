"""Workers of one stage under a supervisor are different members of its group."""

from __future__ import annotations

from schemas.config import Config
from topologies.cli.run import _as_member


def test_static_members_are_told_apart() -> None:
    config = Config.model_validate({"kafka": {"consumer": {"instance_id": "pod"}}})
    names = {_as_member(config, worker).kafka.consumer.instance_id for worker in (None, 0, 1)}
    assert names == {"pod", "pod-0", "pod-1"}


def test_without_static_membership_nothing_changes() -> None:
    config = Config()
    assert _as_member(config, 3) is config
