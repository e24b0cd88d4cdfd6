"""The dead letters that sampling's operators make themselves, of a part of a message."""

from __future__ import annotations

import time

from schemas.batches import Batch, Record
from schemas.config import Config
from schemas.errors import PermanentError
from streams.sampling.outgoing import DeadLetter
from topologies.runtime.deadletter import dead_letter, without_value

__all__ = ["dead_letters"]


def dead_letters(config: Config, stage: str) -> DeadLetter:
    """Makes those of a stage; a value that Kafka would not take is left out."""
    topic, max_bytes = config.topics.names.deadletter, config.kafka.producer.max_message

    def make(batch: Batch, error: PermanentError) -> Record:
        record = dead_letter(topic, stage, batch, error, time.time_ns())
        return record if len(record.value) <= max_bytes else without_value(record)

    return make
