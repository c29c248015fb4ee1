"""Several endpoints of one chain as one source."""
