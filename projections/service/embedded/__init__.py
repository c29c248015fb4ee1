"""Embedded servers, and the process that stops them when they are no longer used."""
