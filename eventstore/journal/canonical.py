"""SQL fragments that the queries of history share: which logs are canonical, and their order."""

LIVING = (
    "NOT EXISTS (SELECT 1 FROM orphans o WHERE o.chain_id = l.chain_id "
    "AND o.block_number = l.block_number AND o.entry = l.entry LIMIT 1 OFFSET 0)"
)
"""The condition that no orphan row takes the log `l` off the chain. The OFFSET keeps it a look-up by key for
each log: without it PostgreSQL may join the two tables."""

LIVING_BY_PASS = LIVING.replace(" LIMIT 1 OFFSET 0", "")
"""The same for a query that reads the whole journal once, where a join is the better plan."""

LIVING_BLOCK = LIVING.replace("l.block_number", "l.number")
"""The same condition for a row `l` of blocks."""

BY_KEY = "l.block_number, l.log_index, l.entry"
"""The order of the primary key of logs within a chain, which is the order of a replay."""
