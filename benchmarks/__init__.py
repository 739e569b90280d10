"""Benchmarks: figures as ratios against a bare FastAPI route measured in the same run."""
