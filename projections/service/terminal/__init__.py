"""How long work and status are drawn on a terminal, or logged elsewhere."""
