"""History in SQL: what was learned of each chain, in the order in which it was learned."""
