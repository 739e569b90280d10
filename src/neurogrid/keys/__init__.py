"""`/v1/keys`: the API keys of whoever asks. What they are and hold is the business of ``auth.keys``."""
