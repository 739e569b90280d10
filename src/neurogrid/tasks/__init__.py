"""What users do with tasks: submit, look, wait, cancel."""
