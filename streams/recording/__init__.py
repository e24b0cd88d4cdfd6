"""Recordings of telemetry: read, written, repeated with fresh ids, altered by a seed.

Pure: streams, random generators and times come as arguments.
"""
