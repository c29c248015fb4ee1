"""What the fields of documents may be, and how values are written as JSON and as text."""
