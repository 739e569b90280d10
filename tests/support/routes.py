"""Routes that ask for no credential: the short list, each with its reason, to which one is added with care."""

from __future__ import annotations

from typing import Final

_TO_GET_ONE = "callers come here to get a credential, and have none yet"
_SECOND = "the ticket of the first step is the credential"
_MAILED = "the token of the mail is the credential"
_PROBE = "asked by what runs the gateway; tells nothing of users"
_DOCUMENT = "describes the interface, which is public; switched off by a setting"

OPEN: Final = {
    "/health/live": _PROBE,
    "/health/ready": _PROBE,
    "/health/detailed": _PROBE,
    "/metrics": "scraped from within; counts, and names nobody",
    "/v1/auth/register": _TO_GET_ONE,
    "/v1/auth/token": _TO_GET_ONE,
    "/v1/auth/2fa/options": _SECOND,
    "/v1/auth/2fa/sign-in": _SECOND,
    "/v1/auth/passkeys/sign-in/options": _TO_GET_ONE,
    "/v1/auth/passkeys/sign-in": _TO_GET_ONE,
    "/v1/auth/refresh": "the refresh token is the credential",
    "/v1/auth/logout": "ends the session whose token is sent, expired or not, and nothing else",
    "/v1/auth/oauth": "the buttons of the page where one signs in",
    "/v1/auth/oauth/{provider}/start": _TO_GET_ONE,
    "/v1/auth/oauth/{provider}/callback": "the sealed cookie of who began, and the provider's answer, are the credential",
    "/v1/auth/oauth/link": "the ticket, with the password or the token of the mail, is the credential",
    "/v1/auth/oauth/link/mail": "the ticket is the credential; the mail goes to the owner of the account",
    "/v1/auth/verify-email": _MAILED,
    "/v1/auth/password/forgot": "whoever forgot the password has no credential; the link goes to the address",
    "/v1/auth/password/reset": _MAILED,
    "/openapi.json": _DOCUMENT,
    "/docs": _DOCUMENT,
    "/docs/assets": _DOCUMENT,
    "/docs/oauth2-redirect": _DOCUMENT,
    "/redoc": _DOCUMENT,
}
