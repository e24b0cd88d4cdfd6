"""The CORS protocol for browser clients (Fetch standard, section CORS protocol)."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.config.ingest import Cors

__all__ = ["CorsPolicy"]

_OTLP_HEADERS = ("content-type", "content-encoding", "accept", "x-requested-with")
_EXPOSED = "Retry-After"


class CorsPolicy:
    """Answers for allowed origins; nothing at all for others, so that browsers keep them out."""

    def __init__(self, settings: Cors) -> None:
        self.enabled = bool(settings.allowed_origins)
        self._any = "*" in settings.allowed_origins
        self._origins = frozenset(settings.allowed_origins)
        self._headers = ", ".join(
            dict.fromkeys((*_OTLP_HEADERS, *map(str.lower, settings.allowed_headers)))
        )
        self._max_age = str(int(settings.max_age))

    def allows(self, origin: str | None) -> bool:
        """Whether a page of that origin may send."""
        return origin is not None and (self._any or origin in self._origins)

    def headers(self, request: Mapping[str, str]) -> dict[str, str]:
        """Headers for the answer to a request proper."""
        if not self.enabled:
            return {}
        origin = request.get("Origin")
        if origin is None or not self.allows(origin):
            return {} if self._any else {"Vary": "Origin"}
        common = {"Access-Control-Expose-Headers": _EXPOSED}
        if self._any:
            return {"Access-Control-Allow-Origin": "*", **common}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **common}

    def preflight(self, request: Mapping[str, str]) -> dict[str, str]:
        """Headers for the answer to a preflight of an allowed origin."""
        return {
            **self.headers(request),
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": self._headers,
            "Access-Control-Max-Age": self._max_age,
        }
