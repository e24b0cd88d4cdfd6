"""Who we say we are."""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["USER_AGENT"]

USER_AGENT = f"OTel-OTLP-Exporter-otlp-streams/{version('otlp-streams')}"
"""``User-Agent`` of every request (OTLP specification, section User Agent)."""
