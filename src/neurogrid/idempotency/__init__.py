"""One key of a client stands for one request: whatever it makes is made once, and answered alike (R19)."""
