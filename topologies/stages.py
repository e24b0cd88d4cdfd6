"""The stages by name, in the order in which telemetry passes them."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.config import Config
from schemas.config.problems import nearest
from schemas.errors import ConfigurationError

__all__ = ["ALL", "expand"]

ALL = "all"
_SAMPLING = ("sample", "emit")
_NEEDS = {
    **dict.fromkeys(_SAMPLING, "sampling.enabled: true"),
    "windows": "windows.enabled: true",
    "detect": "alerts.enabled: true",
}
"""What makes a stage one."""


def expand(names: Iterable[str], config: Config) -> tuple[str, ...]:
    """Stages to run.

    ``export`` becomes ``export:BACKEND`` for each backend, ``notify`` ``notify:TARGET`` for each
    target, and ``all`` all there are.

    Raises ConfigurationError for a name that is no stage of this configuration.
    """
    exports = [f"export:{name}" for name in config.export.backends]
    sampling = _SAMPLING if config.sampling.enabled else ()
    shape = ("shape",) if config.shaped else ()
    windows = ("windows",) if config.windows.enabled else ()
    detect = ("detect",) if config.alerts.enabled else ()
    notify = [f"notify:{name}" for name in config.notify.targets]
    stages_all = ["ingest", *sampling, *shape, *windows, *detect, *notify, *exports]
    groups = {ALL: stages_all, "export": exports, "notify": notify}
    stages: dict[str, None] = {}
    for name in names:
        if name in groups:
            stages.update(dict.fromkeys(groups[name]))
        elif name in groups[ALL]:
            stages[name] = None
        elif name in _NEEDS:
            raise ConfigurationError(f"{name!r} is a stage only with {_NEEDS[name]}")
        elif name == "shape":
            raise ConfigurationError(
                "'shape' has nothing to do: shape.signals has traces alone, "
                "and with sampling.enabled: true they are left to sampling"
            )
        else:
            possible = [*groups, *groups[ALL]]
            guess = nearest(name, possible)
            hint = f"; did you mean {guess}?" if guess else f"; there are {', '.join(possible)}"
            raise ConfigurationError(f"{name!r} is no stage{hint}")
    return tuple(stages)
