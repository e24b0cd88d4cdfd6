"""Tail sampling that holds no spans: summaries per trace, verdicts, and work orders. Pure."""
