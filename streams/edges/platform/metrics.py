"""The registry that a process's metrics live on, and what every process reports.

Conventions: ``otlp_streams_<what>_<unit>[_total]``, base units (seconds, bytes), labels
``stage``, ``worker``, ``signal``, ``topic``, ``partition``, ``reason``, ``backend``. Each part
declares its metrics beside its code and is handed the registry; there is no global one.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Info, PlatformCollector, ProcessCollector

__all__ = ["create_registry", "package_version"]


def package_version() -> str:
    """Version of the installed package."""
    try:
        return version("otlp-streams")
    except PackageNotFoundError:
        return "unknown"


def create_registry() -> CollectorRegistry:
    """A registry with ``process_*`` (CPU seconds, resident bytes, open files) and the version."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    build = Info("otlp_streams_build", "Version of this program.", registry=registry)
    build.info({"version": package_version()})
    return registry
