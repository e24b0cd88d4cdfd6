"""The outside world: receivers, exporters, security, platform."""
