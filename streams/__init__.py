"""What is done to telemetry; nothing here knows Kafka."""
