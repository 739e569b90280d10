"""The ceremonies of WebAuthn (Level 3): what browsers are asked, and whether what they answer is true.

Who answers is told by a signature over the challenge, the page's origin and the domain that the passkey was made for.
Attestation is not asked for: it says who built an authenticator, which is nobody's business here.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import orjson
import structlog

from neurogrid.core import networks
from neurogrid.core.errors import Conflict, Unauthenticated

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

log = structlog.get_logger(__name__)

NAME: Final = "NeuroGrid"
TIMEOUT: Final = 300_000
"""ms a browser gives its user."""
LOCAL: Final = "localhost"
_PORTS: Final = {"http": 80, "https": 443}

Json = dict[str, Any]


class PasskeyRefused(Unauthenticated):
    """What the browser answered is not good."""

    code, title = "passkey_refused", "The passkey was not taken"

    def __init__(self) -> None:
        super().__init__(
            "The passkey is unknown here, or its answer is not to the question asked, or came too late or twice. "
            "Ask for options again, and answer those."
        )


class PasskeysUnavailable(Conflict):
    """Passkeys are made for a domain, and this grid has none."""

    code, title = "passkeys_unavailable", "No passkeys here"

    def __init__(self) -> None:
        super().__init__(
            "Passkeys take a host name. Set NEUROGRID_PUBLIC_URL to one (https, or http://localhost), not to an address."
        )


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Whom passkeys are for: a domain, and the origins of its pages that may use them."""

    domain: str
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A passkey to be named to a browser, and the ways to reach its authenticator."""

    credential_id: bytes
    transports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """What is kept of a passkey."""

    credential_id: bytes
    public_key: bytes = field(repr=False)
    sign_count: int
    aaguid: str
    backed_up: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """What a passkey's answer says, once it is proven."""

    sign_count: int
    backed_up: bool
    verified: bool
    """Whether the authenticator made sure of who holds it, by a PIN or a finger."""


def relying_party(url: str, domain: str | None, allowed: Sequence[str]) -> RelyingParty | None:
    """Return whom passkeys are for, given where users reach the grid; ``None`` where that has no name.

    ``domain`` is the host of ``url`` or one above it. Of the origins ``allowed`` those of the domain count.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port not in {None, _PORTS[parts.scheme]} else ""
    address = networks.parse(host)
    if address is not None:
        if not address.is_loopback and not address.is_unspecified:
            return None
        host = LOCAL  # the name under which browsers have passkeys on this machine
    domain = domain or host
    own = f"{parts.scheme}://{host}{port}"
    ours = [each for each in (own, *allowed) if _is_of(urlsplit(each).hostname or "", domain)]
    return RelyingParty(domain, tuple(dict.fromkeys(ours))) if ours else None


def creation_options(
    party: RelyingParty, user_id: bytes, email: str, challenge: bytes, known: Sequence[Known]
) -> Json:
    """Return what ``navigator.credentials.create`` is asked; ``known`` are credentials not to be made again."""
    import webauthn  # noqa: PLC0415 - takes long to import, and few gateways' first minute needs it
    from webauthn.helpers import structs  # noqa: PLC0415

    options = webauthn.generate_registration_options(
        rp_id=party.domain,
        rp_name=NAME,
        user_id=user_id,
        user_name=email,
        user_display_name=email,
        challenge=challenge,
        timeout=TIMEOUT,
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.PREFERRED,
            user_verification=structs.UserVerificationRequirement.PREFERRED,
        ),
        exclude_credentials=[_descriptor(each) for each in known],
    )
    return cast("Json", orjson.loads(webauthn.options_to_json(options)))


def request_options(
    party: RelyingParty, challenge: bytes, allowed: Sequence[Known] = (), *, verified: bool
) -> Json:
    """Return what ``navigator.credentials.get`` is asked; without ``allowed`` the user chooses the account as well."""
    import webauthn  # noqa: PLC0415
    from webauthn.helpers import structs  # noqa: PLC0415

    kinds = structs.UserVerificationRequirement
    options = webauthn.generate_authentication_options(
        rp_id=party.domain,
        challenge=challenge,
        timeout=TIMEOUT,
        allow_credentials=[_descriptor(each) for each in allowed],
        user_verification=kinds.REQUIRED if verified else kinds.PREFERRED,
    )
    return cast("Json", orjson.loads(webauthn.options_to_json(options)))


def challenge_of(credential: Json) -> str:
    """Return the challenge that a browser says it answers, as base64url. Raises ``PasskeyRefused``."""
    try:
        said = orjson.loads(decode(credential["response"]["clientDataJSON"]))
        challenge, crossed = said["challenge"], said.get("crossOrigin", False)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise PasskeyRefused from None
    if not isinstance(challenge, str) or crossed is not False or said.get("topOrigin") is not None:
        raise PasskeyRefused  # answered within a page of another site
    return challenge


def read_new(party: RelyingParty, credential: Json, challenge: bytes) -> NewPasskey:
    """Return the passkey that was made. Raises ``PasskeyRefused``."""
    import webauthn  # noqa: PLC0415
    from webauthn.helpers.exceptions import WebAuthnException  # noqa: PLC0415

    try:
        made = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.domain,
            expected_origin=list(party.origins),
        )
    except (WebAuthnException, *_GARBAGE) as error:
        raise _refused(error) from None
    return NewPasskey(
        made.credential_id,
        made.credential_public_key,
        made.sign_count,
        made.aaguid,
        made.credential_backed_up,
    )


def read_answer(party: RelyingParty, credential: Json, challenge: bytes, public_key: bytes) -> Shown:
    """Return what a passkey says that answered. Raises ``PasskeyRefused``.

    Its counter is judged by whoever keeps it: there, in one statement with keeping the next.
    """
    import webauthn  # noqa: PLC0415
    from webauthn.helpers.exceptions import WebAuthnException  # noqa: PLC0415

    try:
        shown = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.domain,
            expected_origin=list(party.origins),
            credential_public_key=public_key,
            credential_current_sign_count=0,
        )
    except (WebAuthnException, *_GARBAGE) as error:
        raise _refused(error) from None
    return Shown(shown.new_sign_count, shown.credential_backed_up, shown.user_verified)


_GARBAGE: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What the library raises besides its own, where a field is not what it should be."""


def _descriptor(known: Known) -> PublicKeyCredentialDescriptor:
    from webauthn.helpers import structs  # noqa: PLC0415

    ways = {each.value: each for each in structs.AuthenticatorTransport}
    transports = [ways[each] for each in known.transports if each in ways]
    return structs.PublicKeyCredentialDescriptor(id=known.credential_id, transports=transports or None)


def decode(text: str) -> bytes:
    """Return what base64url without padding stands for. Raises ``ValueError``."""
    padded = text + "=" * (-len(text) % 4)
    return binascii.a2b_base64(padded.replace("-", "+").replace("_", "/"), strict_mode=True)


def encode(value: bytes) -> str:
    """Return ``value`` as base64url without padding."""
    text = binascii.b2a_base64(value, newline=False).decode().rstrip("=")
    return text.replace("+", "-").replace("/", "_")


def _refused(error: Exception) -> PasskeyRefused:
    log.info("passkey.refused", why=str(error)[:200])
    return PasskeyRefused()


def _is_of(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
