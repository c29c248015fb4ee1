"""Canonical logs as Parquet files."""
