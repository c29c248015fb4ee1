"""A JSON-RPC node as a source: transport, client, codec, and what refusals mean."""
