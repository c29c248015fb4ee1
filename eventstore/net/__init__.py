"""Connections to the outside within deadlines: HTTP exchanges, websockets, and bounds for answers."""
