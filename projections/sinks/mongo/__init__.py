"""MongoDB: the sink, the names it writes under, and the driver's side of it, one file each."""

from projections.sinks.mongo.sink import MongoSink as MongoSink
