"""The node process: takes tasks from a gateway, runs them, and tells how they go. Imports no gateway code."""
