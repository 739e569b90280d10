"""The back channel: a code of the provider's becomes who has signed in there."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus

import structlog

from neurogrid.auth.oauth.errors import OAuthAnswerInvalid
from neurogrid.auth.oauth.id_tokens import BadIdToken, Expected, header_of, is_subject, read
from neurogrid.auth.oauth.metadata import OK, Metadata, read_object, unavailable
from neurogrid.auth.oauth.providers import Endpoints, Provider
from neurogrid.auth.service import is_address
from neurogrid.core.egress import Egress, EgressError, Reply

MAX_TOKEN: Final = 16 * 1024
_JSON: Final = {"Accept": "application/json"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Profile:
    """Who has signed in at a provider. ``email`` is there only if the provider says that it is proven."""

    provider: str
    issuer: str
    subject: str
    email: str | None


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a code is an answer to us: the code verifier of PKCE, and the nonce."""

    verifier: str
    nonce: str
    redirect_uri: str


class Exchange:
    """Asks one provider."""

    def __init__(self, provider: Provider, metadata: Metadata, egress: Egress) -> None:
        """Ask by ``egress``."""
        self._provider = provider
        self._metadata = metadata
        self._egress = egress

    async def profile(self, code: str, proof: Proof) -> Profile:
        """Return who has signed in. Raises ``OAuthAnswerInvalid`` or ``ProviderUnavailable``."""
        endpoints = await self._metadata.endpoints()
        tokens = await self._tokens(endpoints, code, proof)
        access = tokens.get("access_token")
        if not isinstance(access, str) or not 0 < len(access) <= MAX_TOKEN or not access.isascii():
            raise unavailable(self._provider, "there is no access token in its answer")
        if endpoints.jwks is None:
            return self._of_plain(await self._userinfo(endpoints, access))
        try:
            claims = await self._claims(tokens.get("id_token"), access, proof)
        except BadIdToken as error:
            log.warning("oauth.id_token_refused", provider=self._provider.name, why=str(error))
            raise OAuthAnswerInvalid(self._provider.label) from None
        if "email" not in claims and endpoints.userinfo is not None:
            more = await self._userinfo(endpoints, access)
            if more.get("sub") != claims["sub"]:
                log.warning("oauth.userinfo_of_somebody_else", provider=self._provider.name)
                raise OAuthAnswerInvalid(self._provider.label)
            claims = {**more, **claims}
        return self._profile(claims["sub"], claims, "email_verified")

    async def _claims(self, token: object, access: str, proof: Proof) -> dict[str, Any]:
        if not isinstance(token, str):
            msg = "there is none"
            raise BadIdToken(msg)
        header = header_of(token)
        key = await self._metadata.key(header)
        provider = self._provider
        return read(token, header, key, Expected(provider.issuer, provider.client_id, proof.nonce, access))

    async def _tokens(self, endpoints: Endpoints, code: str, proof: Proof) -> dict[str, Any]:
        provider, headers = self._provider, dict(_JSON)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": proof.redirect_uri,
            "code_verifier": proof.verifier,
        }
        if provider.client_secret is None:
            form["client_id"] = provider.client_id
        elif endpoints.secret_in_form:
            form |= {"client_id": provider.client_id, "client_secret": provider.client_secret}
        else:
            pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret)}"  # RFC 6749, 2.3.1
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        reply = await self._ask("POST", endpoints.token, headers, form)
        answer = read_object(reply.body)
        error = answer.get("error") if answer is not None else None
        if error == "invalid_grant":  # the code is made up, somebody else's, used before, or late
            log.warning("oauth.code_refused", provider=provider.name)
            raise OAuthAnswerInvalid(provider.label)
        if reply.status != OK or answer is None or error is not None:
            raise unavailable(provider, f"token endpoint: status {reply.status}, error {str(error)[:60]!r}")
        return answer

    async def _userinfo(self, endpoints: Endpoints, access: str) -> dict[str, Any]:
        headers = {**_JSON, "Authorization": f"Bearer {access}"}
        reply = await self._ask("GET", endpoints.userinfo or "", headers)
        answer = read_object(reply.body) if reply.status == OK else None
        if answer is None:
            raise unavailable(self._provider, f"userinfo endpoint: status {reply.status}, or no JSON object")
        return answer

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> Reply:
        try:
            return await self._egress.request(
                method, url, headers=headers, form=form, private=self._provider.private
            )
        except EgressError as error:
            raise unavailable(self._provider, f"{url}: {error}") from None

    def _of_plain(self, answer: dict[str, Any]) -> Profile:
        """Return who an API says that has signed in; numbers are names there as well."""
        subject = answer.get(self._provider.subject_claim)
        if isinstance(subject, int) and not isinstance(subject, bool):
            subject = str(subject)
        if not isinstance(subject, str) or not is_subject(subject):
            raise unavailable(self._provider, f"it does not say {self._provider.subject_claim}")
        return self._profile(subject, answer, self._provider.verified_claim)

    def _profile(self, subject: str, claims: Mapping[str, Any], verified_claim: str) -> Profile:
        email = claims.get("email")
        verified = claims.get(verified_claim)
        proven = verified is True or verified == "true"  # some write it as text
        address = email.strip().lower() if isinstance(email, str) else ""
        return Profile(
            self._provider.name,
            self._provider.issuer,
            subject,
            address if proven and is_address(address) else None,
        )
