"""The command line ``otlp-streams``: one module for each group of commands.

A module offers ``register(app)``, which adds its commands; what costs time to import (grpc,
numba, faust, the models) is imported inside the commands, so that ``--help`` is quick.
"""
