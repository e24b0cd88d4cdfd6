"""What is set at run time: ``control`` followed by every worker, and what ``audit`` says of it.

A worker reads the compacted topic from its beginning before it processes anything, and follows
it from then on (follower.py). Each lane takes a change over between two batches and tells from
which offset on it holds (view.py); when all lanes of the worker have, one record goes to
``audit`` (audit.py). Commands set and show values (setting.py).
"""

from .view import ControlView, LaneControl

__all__ = ["ControlView", "LaneControl"]
