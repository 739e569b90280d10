"""Nodes as operators see them: what is registered, and the tokens by which they join."""
