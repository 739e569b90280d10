"""Codes of authenticator apps: time-based one-time passwords of six digits, a new one every 30 seconds (RFC 6238)."""

from __future__ import annotations

import hmac
import io
from datetime import datetime
from typing import Final

STEP: Final = 30
DRIFT: Final = 1
"""Steps by which the clock of a phone may be behind or ahead."""
DIGITS: Final = 6
ISSUER: Final = "NeuroGrid"


def fresh() -> str:
    """Return a new secret of 160 bits, in base 32."""
    import pyotp  # noqa: PLC0415 - few gateways' lives ever need it

    return pyotp.random_base32()


def uri(secret: str, email: str) -> str:
    """Return what authenticator apps read out of the QR code (``otpauth://totp/…``)."""
    import pyotp  # noqa: PLC0415

    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def picture(text: str) -> str:
    """Return the QR code of ``text`` as an SVG image, dark on light whatever the page's colours."""
    import segno  # noqa: PLC0415

    image = io.BytesIO()
    code = segno.make(text, error="m", micro=False)
    code.save(image, kind="svg", scale=4, light="#fff", dark="#000", xmldecl=False, nl=False)
    return image.getvalue().decode()


def is_code(text: str) -> bool:
    """Tell whether ``text`` has the form of a code."""
    return len(text) == DIGITS and text.isascii() and text.isdigit()


def step_of(secret: str, code: str, moment: datetime) -> int | None:
    """Return the newest time step around ``moment`` whose code is ``code``; ``None`` if it is none of theirs."""
    import pyotp  # noqa: PLC0415

    totp = pyotp.TOTP(secret, digits=DIGITS, interval=STEP)
    present = int(moment.timestamp()) // STEP
    found = None
    for step in range(present - DRIFT, present + DRIFT + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()):
            found = step
    return found
