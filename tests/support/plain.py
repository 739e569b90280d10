"""What clients in tests need that speak plain HTTP, to this machine alone."""

from __future__ import annotations

import ssl

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody. Loading those whom a client trusts by default takes it a twentieth of a second."""
