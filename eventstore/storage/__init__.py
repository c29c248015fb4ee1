"""The database: engine, transactions, leases, fast rows. Nothing here knows of logs."""
