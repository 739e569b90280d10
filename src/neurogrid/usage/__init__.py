"""What was used: accounting by user, key, model and day; monthly quotas (LIM-7)."""
