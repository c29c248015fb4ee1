"""The checks behind `verify`, from the chain down to the sinks."""
