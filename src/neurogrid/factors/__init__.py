"""Second factors, passkeys and step-up over HTTP; what they are is in ``auth``."""
