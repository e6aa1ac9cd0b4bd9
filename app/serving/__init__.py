"""The long-lived parts of the service: loaded models, queues, admission, metrics."""
