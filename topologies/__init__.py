"""The only place that knows Kafka and Faust: the runtime, the workers, the command line."""
