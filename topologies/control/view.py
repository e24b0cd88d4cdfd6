"""The values in force in this process, and the boundary at which each lane takes them over.

A lane asks its :class:`LaneControl` before each batch: :meth:`LaneControl.ready` compares one
number, and only when something has changed does it look what. From then on the lane works with
the new value, and the offset of the batch that comes next is its boundary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from schemas.control import ControlSetting
from schemas.records import OffsetRange, Value

__all__ = ["Application", "ControlView", "LaneControl"]

Told = Callable[[str, Value], None]


class _State(NamedTuple):
    value: Value
    version: int


class Application:
    """One change on its way through the lanes of a process."""

    def __init__(self, name: str, before: Value, after: Value, lanes: set[LaneControl]) -> None:
        self.name = name
        self.before = before
        self.after = after
        self._waiting = lanes
        self._ranges: dict[LaneControl, int | None] = {}
        self._complete = asyncio.Event()
        self._check()

    async def complete(self, timeout_s: float) -> tuple[OffsetRange, ...]:
        """Wait for all lanes, or so long; from which message on each works with the value.

        A lane in the middle of something long is in it without an offset.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._complete.wait()
        except TimeoutError:
            self._ranges.update(dict.fromkeys(self._waiting))
        return tuple(
            OffsetRange(topic=lane.topic, partition=lane.partition, first=first)
            for lane, first in sorted(
                self._ranges.items(), key=lambda each: (each[0].topic, each[0].partition)
            )
        )

    def reached(self, lane: LaneControl, offset: int | None) -> None:
        """The lane works with it from ``offset`` on."""
        if lane in self._waiting:
            self._ranges[lane] = offset
            self.left(lane)

    def left(self, lane: LaneControl) -> None:
        """The lane is gone, or a later change of the same name was quicker."""
        self._waiting.discard(lane)
        self._check()

    @property
    def done(self) -> bool:
        """No lane is waited for."""
        return self._complete.is_set()

    def _check(self) -> None:
        if not self._waiting:
            self._complete.set()


class ControlView:
    """Current values by name.

    Args:
        settings: the names that there are (schemas/control.py).
    """

    def __init__(self, settings: Mapping[str, ControlSetting]) -> None:
        self.settings = settings
        self.version = 0
        """Grows with every change."""
        self._states = {name: _State(None, 0) for name in settings}
        self._lanes: set[LaneControl] = set()
        self._under_way: list[Application] = []

    def current(self, name: str) -> Value:
        """The value in force: what was set, else what the configuration says."""
        value = self._states[name].value
        return self.settings[name].default if value is None else value

    def explicit(self, name: str) -> Value:
        """What was set; None if nothing was."""
        return self._states[name].value

    def change(self, name: str, value: Value) -> Application:
        """Put a valid value in force; lanes that it concerns take it over at their boundary."""
        before = self.explicit(name)
        self.version += 1
        self._states[name] = _State(value, self.version)
        setting = self.settings[name]
        lanes = {lane for lane in self._lanes if lane.concerned(setting)}
        for earlier in self._under_way:
            if earlier.name == name:
                for lane in lanes:
                    earlier.left(lane)
        application = Application(name, before, value, lanes)
        self._under_way = [each for each in (*self._under_way, application) if not each.done]
        for lane in self._lanes:
            lane.wake()
        return application

    def lane(
        self, stage: str, topic: str, partition: int, *, wake: Callable[[], None] = lambda: None
    ) -> LaneControl:
        """For a new lane; it begins with the current values. ``wake``: something has changed."""
        lane = LaneControl(self, stage, topic, partition, wake)
        self._lanes.add(lane)
        return lane

    # --- for LaneControl

    def changed_since(self, version: int) -> list[tuple[str, Value]]:
        """Names with their current values, in the order in which they were changed."""
        changed = sorted(
            (state.version, name) for name, state in self._states.items() if state.version > version
        )
        return [(name, self.current(name)) for _, name in changed]

    def paused(self, lane: LaneControl) -> bool:
        """Whether one of the settings holds this lane."""
        return any(
            setting.stage is not None and lane.concerned(setting) and self.current(name) is False
            for name, setting in self.settings.items()
        )

    def reached(self, lane: LaneControl, offset: int | None) -> None:
        """The lane has taken over everything."""
        for application in self._under_way:
            application.reached(lane, offset)

    def left(self, lane: LaneControl) -> None:
        """The lane is gone."""
        self._lanes.discard(lane)
        for application in self._under_way:
            application.left(lane)


class LaneControl:
    """What one lane knows of the control topic."""

    def __init__(
        self, view: ControlView, stage: str, topic: str, partition: int, wake: Callable[[], None]
    ) -> None:
        self.stage = stage
        self.topic = topic
        self.partition = partition
        self.wake = wake
        self._view = view
        self._version = view.version
        self.paused = view.paused(self)
        """No batch is to be taken, as of the last boundary."""

    def ready(self, offset: int | None, told: Told = lambda _name, _value: None) -> bool:
        """Take over what has changed; whether the batch at ``offset`` may be taken now.

        Args:
            offset: of the next batch, be it there or not; None if that is not known yet.
            told: called with each name that has changed and concerns the lane, and its value.

        A lane that may not, waits for ``wake`` as if it had no batch.
        """
        if self._version != self._view.version:
            changed = self._view.changed_since(self._version)
            self._version = self._view.version
            self.paused = self._view.paused(self)
            for name, value in changed:
                if self.concerned(self._view.settings[name]):
                    told(name, value)
            self._view.reached(self, offset)
        return not self.paused

    def explicit(self) -> list[tuple[str, Value]]:
        """What is set, of what concerns the lane: for one that begins, or begins again."""
        settings = self._view.settings
        return [
            (name, value)
            for name in settings
            if (value := self._view.explicit(name)) is not None and self.concerned(settings[name])
        ]

    def close(self) -> None:
        """The lane is gone."""
        self._view.left(self)

    def concerned(self, setting: ControlSetting) -> bool:
        """Whether a setting is about this lane."""
        return setting.concerns(self.stage) and setting.topic in (None, self.topic)
