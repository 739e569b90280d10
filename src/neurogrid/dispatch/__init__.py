"""Brings queued tasks to connected nodes, and what nodes say back into the database and the live streams."""
