"""A scripted chain, as a source within the process and as a JSON-RPC node with faults."""
