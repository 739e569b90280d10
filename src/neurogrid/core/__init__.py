"""Foundations every feature stands on: settings, database, errors, HTTP, ids, clock, logging."""
