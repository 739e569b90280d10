"""What sign-in is made of, put together once for a gateway."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from neurogrid.auth.access import AccessTokens
from neurogrid.auth.accounts import Accounts, AccountsSetup
from neurogrid.auth.audit import Audit
from neurogrid.auth.cookies import Cookies
from neurogrid.auth.keys import ApiKeys
from neurogrid.auth.lockout import Lockout
from neurogrid.auth.mails import Mailbox, Outbox
from neurogrid.auth.onetime import OneTimeTokens
from neurogrid.auth.passwords import Passwords
from neurogrid.auth.service import AuthService
from neurogrid.auth.sessions import Sessions
from neurogrid.auth.signin import SignIn
from neurogrid.auth.users import Users
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
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


def make_auth(database: Database, settings: Settings) -> AuthParts:
    """Put the parts together; nothing is opened."""
    keyring = keyring_of(settings)
    auth = settings.auth
    access = AccessTokens(keyring, auth.access_token)
    service = AuthService(database, access, verified_email=settings.verified_email_required)
    audit = Audit(database)
    passwords = Passwords(auth.hash_concurrency, auth.hash_queue)
    lockout = Lockout(database, keyring)
    sessions = Sessions(database, keyring, access, auth, service.forget, audit)
    mailbox = Mailbox(database, keyring)
    url = settings.effective_public_url
    accounts = Accounts(database, AccountsSetup(auth, url), passwords, lockout, sessions, mailbox, audit)
    mail = settings.mail
    return AuthParts(
        keyring,
        service,
        audit,
        ApiKeys(database, auth, service.forget),
        Users(database, sessions, service.forget),
        accounts,
        sessions,
        SignIn(database, keyring, passwords, lockout, sessions, audit),
        Cookies(keyring, (*auth.allowed_origins, _origin(url))),
        lockout,
        mailbox,
        OneTimeTokens(database),
        Outbox(mailbox, mail.outbox, mail.sender) if mail.outbox else None,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
