"""Who is told of alerts: Alertmanager, webhooks, Slack, PagerDuty.

A :class:`Sender` makes one try; a :class:`Notifier` decides what is told when, and goes on until
the target has it, has refused it, or there is newer news.
"""

from .alert import Alert, Known, Notification, Start, of_event
from .metrics import NotifierMetrics, TargetMetrics
from .notifier import Notifier, TooManyAlerts
from .sending import Sender, create_sender

__all__ = [
    "Alert",
    "Known",
    "Notification",
    "Notifier",
    "NotifierMetrics",
    "Sender",
    "Start",
    "TargetMetrics",
    "TooManyAlerts",
    "create_sender",
    "of_event",
]
