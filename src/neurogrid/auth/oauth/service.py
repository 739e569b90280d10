"""Sign-in by providers: the authorization code flow with PKCE, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth import tokens
from neurogrid.auth.oauth import flows
from neurogrid.auth.oauth.errors import (
    IdentityTaken,
    OAuthAnswerInvalid,
    OAuthDenied,
    OAuthStateInvalid,
    ProviderEmailUnverified,
)
from neurogrid.auth.oauth.exchange import Exchange, Profile, Proof
from neurogrid.auth.oauth.flows import Flow
from neurogrid.auth.oauth.identities import Identities, LinkedMeanwhile
from neurogrid.auth.oauth.linking import Linking, LinkNeeded, locked
from neurogrid.auth.oauth.metadata import Metadata, unavailable
from neurogrid.auth.oauth.newcomers import Newcomers
from neurogrid.auth.oauth.providers import Endpoints, Provider
from neurogrid.auth.policy import Identity, Role
from neurogrid.auth.sessions import Issued, living
from neurogrid.auth.signin import Account, Pending, SignIn
from neurogrid.auth.tables import AuthSession, OneTimeToken, User
from neurogrid.auth.visitors import Visitor
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
from neurogrid.core.egress import Egress
from neurogrid.core.errors import NotFound, Unauthenticated
from neurogrid.core.ids import new_id, now
from neurogrid.core.prepared import Row

STATE: Final = "oauth-state"
CANCELLED: Final = frozenset({"access_denied", "login_required", "interaction_required", "consent_required"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a browser brings back from a provider; what it does not, is empty."""

    state: str
    code: str = ""
    error: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """Where a browser is to go, and what it is to carry until it comes back."""

    url: str
    sealed: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody who has an account, or who has one now."""

    email: str
    issued: Issued | Pending


@dataclass(frozen=True, slots=True)
class Linked:
    """Somebody who was signed in and has linked an account elsewhere."""

    identity: Row


Outcome = SignedIn | Linked | LinkNeeded


class OAuth:
    """Signs people in by the providers that are configured."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        providers: Mapping[str, Provider],
        egress: Egress,
        url: str,
        sign_in: SignIn,
        newcomers: Newcomers,
        identities: Identities,
        linking: Linking,
    ) -> None:
        """Let providers send browsers back to ``url``, below which users reach the grid."""
        self._database = database
        self._keyring = keyring
        self._url = url
        self._sign_in = sign_in
        self._newcomers = newcomers
        self.providers = providers
        self.identities = identities
        self.linking = linking
        self._metadata = {name: Metadata(each, egress) for name, each in providers.items()}
        self._exchanges = {
            name: Exchange(each, self._metadata[name], egress) for name, each in providers.items()
        }

    def at(self, path: str) -> str:
        """Return where a path of ours is, whatever a request calls us."""
        return self._url + path

    # --- there --------------------------------------------------------------------------------

    async def begin(
        self, name: str, path: str, invitation: str | None = None, identity: Identity | None = None
    ) -> Begun:
        """Return how a browser begins to sign in, or with ``identity`` to link an account elsewhere.

        It ends at ``path``. Raises ``NotFound``, ``Invalid`` or ``ProviderUnavailable``.
        """
        provider = self._provider(name)
        flow = flows.begin(
            name, path, invitation,
            identity.user_id if identity else None, identity.session_id if identity else None,
        )  # fmt: skip
        endpoints = await self._metadata[name].endpoints()
        url = self._authorization(provider, endpoints, flow)
        return Begun(url, flows.seal(self._keyring, flow), flows.LIFETIME)

    def _authorization(self, provider: Provider, endpoints: Endpoints, flow: Flow) -> str:
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": self._redirect_uri(provider),
            "scope": provider.scopes,
            "state": flow.state,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
        if endpoints.jwks is not None:
            asked["nonce"] = flow.nonce
        joint = "&" if "?" in endpoints.authorization else "?"
        return f"{endpoints.authorization}{joint}{urlencode(asked)}"

    def _redirect_uri(self, provider: Provider) -> str:
        return self.at(f"/v1/auth/oauth/{provider.name}/callback")

    def _provider(self, name: str) -> Provider:
        provider = self.providers.get(name)
        if provider is None:
            msg = "There is no provider of this name; GET /v1/auth/oauth lists those there are."
            raise NotFound(msg)
        return provider

    # --- and back -----------------------------------------------------------------------------

    async def finish(
        self, name: str, answer: Answer, sealed: str | None, visitor: Visitor
    ) -> tuple[Flow, Outcome]:
        """Return what comes of a provider's answer, to the sign-in that a browser carries.

        Raises ``OAuthStateInvalid``, ``OAuthAnswerInvalid``, ``OAuthDenied``, ``ProviderUnavailable``, and what those
        raise who make or link accounts.
        """
        provider = self._provider(name)
        flow = flows.unseal(self._keyring, sealed)
        if flow is None or not flow.answers(name, answer.state) or not await self._spend(flow):
            raise OAuthStateInvalid(self.at("/"))
        await self._check_sender(provider, answer)
        if answer.error:
            if answer.error in CANCELLED:
                raise OAuthDenied(provider.label)
            raise unavailable(provider, f"it answered the browser with the error {answer.error[:60]!r}")
        if not answer.code:
            raise OAuthAnswerInvalid(provider.label)
        proof = Proof(flow.verifier, flow.nonce, self._redirect_uri(provider))
        profile = await self._exchanges[name].profile(answer.code, proof)
        if flow.user_id is not None and flow.session_id is not None:
            return flow, Linked(await self._link_own(flow.user_id, flow.session_id, profile, visitor))
        for _ in range(2):  # of two answers at once the second finds what the first has made
            with suppress(LinkedMeanwhile):
                return flow, await self._settle(flow, profile, visitor)
        raise IdentityTaken(provider.label)

    async def _spend(self, flow: Flow) -> bool:
        """Use up a state, on all gateways; ``False`` if it was."""
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        async with self._database.transaction() as transaction:
            spent = await transaction.scalar(
                insert(OneTimeToken)
                .values(
                    id=new_id(), user_id=None, purpose=STATE, hash=tokens.digest(f"{STATE} {flow.state}"), payload=None,
                    attempts=0, created_at=now(), expires_at=datetime.fromtimestamp(flow.expires, UTC), used_at=now(),
                )
                .on_conflict_do_nothing(index_elements=[OneTimeToken.hash])
                .returning(OneTimeToken.id)
            )  # fmt: skip
        return spent is not None

    async def _check_sender(self, provider: Provider, answer: Answer) -> None:
        """Refuse an answer that another provider has given (RFC 9207). Raises ``OAuthAnswerInvalid``."""
        endpoints = await self._metadata[provider.name].endpoints()
        if answer.issuer != provider.issuer and (answer.issuer or endpoints.names_itself):
            raise OAuthAnswerInvalid(provider.label)

    async def _settle(self, flow: Flow, profile: Profile, visitor: Visitor) -> SignedIn | LinkNeeded:
        provider = self.providers[profile.provider]
        async with self._database.transaction() as transaction:
            row = await self.identities.find(transaction, profile)
            if row is not None:
                if row["disabled_at"] is not None:
                    raise locked()
                await self.identities.used(transaction, row["identity_id"], profile)
                account = Account(row["id"], row["email"], Role(row["role"]))
            elif profile.email is None:
                raise ProviderEmailUnverified(provider.label)
            elif (user_id := await self._owner(transaction, profile.email)) is not None:
                return self.linking.needed(user_id, profile)
            else:
                account = await self._newcomers.admit(
                    transaction, profile.email, flow.invitation, provider.method, visitor
                )
                await self.identities.add(transaction, account.id, profile)
            methods = frozenset({provider.method})
            return SignedIn(
                account.email, await self._sign_in.complete(transaction, account, methods, visitor)
            )

    async def _owner(self, transaction: AsyncSession, email: str) -> str | None:
        """Return whose address that is."""
        found = await transaction.execute(
            select(User.id, User.disabled_at).where(func.lower(User.email) == email)
        )
        row = found.mappings().first()
        if row is not None and row["disabled_at"] is not None:
            raise locked()
        return row["id"] if row is not None else None

    async def _link_own(self, user_id: str, session_id: str, profile: Profile, visitor: Visitor) -> Row:
        """Link to the account of who began it signed in, if they still are. Raises ``Unauthenticated``."""
        provider = self.providers[profile.provider]
        if profile.email is None:
            raise ProviderEmailUnverified(provider.label)
        try:
            async with self._database.transaction() as transaction:
                alive = await transaction.scalar(
                    select(User.id)
                    .join(AuthSession, AuthSession.user_id == User.id)
                    .where(
                        User.id == user_id,
                        User.disabled_at.is_(None),
                        AuthSession.id == session_id,
                        *living(now()),
                    )
                )
                if alive is None:
                    msg = "You are no longer signed in here. Sign in, and link the account again."
                    raise Unauthenticated(msg)
                return await self.linking.link(transaction, user_id, profile, visitor)
        except LinkedMeanwhile:
            raise IdentityTaken(provider.label) from None
