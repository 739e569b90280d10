"""Models that run on a node, one file per kind. Imports nothing of the gateway."""
