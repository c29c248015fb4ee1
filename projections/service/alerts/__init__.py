"""Incidents: detected, recorded, and sent to people."""
