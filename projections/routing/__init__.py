"""Which event of which contract goes to which handler."""
