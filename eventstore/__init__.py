"""What happened: the raw logs of contracts, kept for ever. Knows nothing of what they mean."""
