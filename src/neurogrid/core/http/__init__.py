"""What every route shares: problem details, strict JSON bodies, request ids, access log, offline docs."""
