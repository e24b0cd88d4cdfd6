"""Subscribe to alerts and print them: alerts_consumer.py [BROKER [TOPIC [GROUP]]]."""

import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer


async def main(broker: str = "127.0.0.1:9092", topic: str = "alerts", group: str = "me") -> None:
    """Print each transition as it comes."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker,
        group_id=group,  # several consumers of one group share the work; groups are independent
        isolation_level="read_committed",  # what was rolled back is no alert
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with consumer:
        async for message in consumer:
            headers = {name: value.decode() for name, value in message.headers}
            if headers.get("ce_type", "").startswith("io.otlp-streams.alert."):
                alert = json.loads(message.value)
                labels = " ".join(f"{name}={value}" for name, value in alert["labels"].items())
                summary = alert["annotations"].get("summary", "")
                print(headers["ce_time"], alert["state"], labels, summary, flush=True)
            await consumer.commit()  # after the work: what was under way at a crash comes again


asyncio.run(main(*sys.argv[1:]))
