"""How fast it is, beside the plain floor: the same work without any of our promises.

python -m bench.backfill --events 100000 --users 50000 --store sqlite --runs 3
"""
