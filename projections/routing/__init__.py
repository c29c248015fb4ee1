"""From contracts and their events to handlers."""
