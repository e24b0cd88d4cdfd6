"""What a process says about itself: logs, metrics, health."""

from .health import AdminServer
from .logs import configure_logs, set_log_level
from .metrics import create_registry

__all__ = ["AdminServer", "configure_logs", "create_registry", "set_log_level"]
