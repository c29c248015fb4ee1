"""From a raw log to a typed event: signatures, ABI files, decoders, and what a log means."""
