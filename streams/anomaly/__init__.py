"""Detectors over blocks of series, and what their scores mean: conformal p-values."""
