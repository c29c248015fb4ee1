"""The service's notebook in SQL: runs, requests, incidents, calls."""
