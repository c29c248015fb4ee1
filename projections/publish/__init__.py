"""The third stage: from changed documents into one sink."""
