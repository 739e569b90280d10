"""What sign-in is made of, put together once for a gateway."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from neurogrid.auth.access import AccessTokens
from neurogrid.auth.accounts import Accounts, AccountsSetup
from neurogrid.auth.audit import Audit
from neurogrid.auth.ceremonies import relying_party
from neurogrid.auth.challenges import Challenges
from neurogrid.auth.cookies import Cookies
from neurogrid.auth.factors import SecondFactors
from neurogrid.auth.keys import ApiKeys
from neurogrid.auth.lockout import Lockout, rules_of
from neurogrid.auth.mails import Mailbox, Outbox
from neurogrid.auth.oauth.build import make_oauth
from neurogrid.auth.oauth.service import OAuth
from neurogrid.auth.onetime import OneTimeTokens
from neurogrid.auth.passkeys import Passkeys
from neurogrid.auth.passwords import Passwords
from neurogrid.auth.secondstep import SecondStep, Tickets
from neurogrid.auth.service import AuthService
from neurogrid.auth.sessions import Sessions
from neurogrid.auth.signin import SignIn
from neurogrid.auth.stepup import StepUp
from neurogrid.auth.users import Users
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
from neurogrid.core.egress import Egress
from neurogrid.core.secret_key import keyring_of
from neurogrid.core.settings import Settings


@dataclass(frozen=True, slots=True)
class AuthParts:
    """The services of this feature in one process."""

    keyring: Keyring
    service: AuthService
    audit: Audit
    keys: ApiKeys
    users: Users
    accounts: Accounts
    sessions: Sessions
    sign_in: SignIn
    factors: SecondFactors
    passkeys: Passkeys
    second_step: SecondStep
    step_up: StepUp
    oauth: OAuth
    cookies: Cookies
    lockout: Lockout
    mailbox: Mailbox
    one_time: OneTimeTokens
    outbox: Outbox | None

    async def forget_old(self) -> None:
        """Delete what is expired."""
        await self.sessions.forget_old()
        await self.one_time.forget()
        await self.lockout.forget()
        await self.mailbox.forget()

    async def deliver(self) -> None:
        """Write the mails that wait to files, if that is how they go."""
        if self.outbox is not None:
            await self.outbox.deliver()


def make_auth(database: Database, settings: Settings, egress: Egress | None = None) -> AuthParts:
    """Put the parts together; nothing is opened."""
    keyring = keyring_of(settings)
    auth = settings.auth
    access = AccessTokens(keyring, auth.access_token)
    service = AuthService(
        database,
        access,
        verified_email=settings.verified_email_required,
        factor_roles=auth.second_factor_roles,
    )
    audit = Audit(database)
    passwords = Passwords(auth.hash_concurrency, auth.hash_queue)
    lockout = Lockout(database, keyring, rules_of(settings.limits.sign_in))
    sessions = Sessions(database, keyring, access, auth, service.forget, audit)
    mailbox = Mailbox(database, keyring)
    url = settings.effective_public_url
    accounts = Accounts(database, AccountsSetup(auth, url), passwords, lockout, sessions, mailbox, audit)
    one_time = OneTimeTokens(database)
    factors = SecondFactors(database, keyring, sessions, mailbox, audit, url)
    party = relying_party(url, auth.passkey_domain, auth.allowed_origins)
    challenges = Challenges(database, auth.second_step)
    passkeys = Passkeys(database, party, challenges, factors, sessions, audit)
    hold = Tickets(one_time, auth.second_step).hold
    sign_in = SignIn(database, keyring, passwords, lockout, sessions, audit, hold)
    second_step = SecondStep(database, one_time, lockout, factors, passkeys, sign_in, mailbox, audit, url)
    step_up = StepUp(database, passwords, lockout, factors, passkeys, audit, auth.step_up)
    out = egress or Egress(settings.egress)
    oauth = make_oauth(database, keyring, settings, out, sign_in, sessions, mailbox, audit)
    mail = settings.mail
    return AuthParts(
        keyring,
        service,
        audit,
        ApiKeys(database, auth, service.forget),
        Users(database, sessions, step_up, service.forget),
        accounts,
        sessions,
        sign_in,
        factors,
        passkeys,
        second_step,
        step_up,
        oauth,
        Cookies(keyring, (*auth.allowed_origins, _origin(url))),
        lockout,
        mailbox,
        one_time,
        Outbox(mailbox, mail.outbox, mail.sender) if mail.outbox else None,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
