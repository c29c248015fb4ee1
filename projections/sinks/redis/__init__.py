"""Redis: one hash per document, on one server or on a cluster."""

from projections.sinks.redis.sink import RedisSink, text

__all__ = ["RedisSink", "text"]
