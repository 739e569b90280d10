"""A private PostgreSQL and Valkey from wheels: for ``up --servers``, and to be killed by ``drill`` (OPS-8)."""
