"""What the store and the process show: status, metrics, decoded history."""
