"""How fast it is, beside the plain floor: the same work without any of our promises.

python -m bench.backfill --events 100000 --users 50000 --store sqlite --runs 3
python -m bench.reorg --documents 10000 1000000 --depths 1 10 64
"""
