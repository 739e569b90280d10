"""Sign-in by providers, put together."""

from __future__ import annotations

from neurogrid.auth.audit import Audit
from neurogrid.auth.mails import Mailbox
from neurogrid.auth.oauth.identities import Identities
from neurogrid.auth.oauth.linking import Linking
from neurogrid.auth.oauth.newcomers import Newcomers
from neurogrid.auth.oauth.providers import providers_of
from neurogrid.auth.oauth.service import OAuth
from neurogrid.auth.sessions import Sessions
from neurogrid.auth.signin import SignIn
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
from neurogrid.core.egress import Egress
from neurogrid.core.settings import Settings


def make_oauth(
    database: Database,
    keyring: Keyring,
    settings: Settings,
    egress: Egress,
    sign_in: SignIn,
    sessions: Sessions,
    mailbox: Mailbox,
    audit: Audit,
) -> OAuth:
    """Put the parts together; no provider is asked anything yet."""
    providers = providers_of(settings.oauth)
    url = settings.effective_public_url
    identities = Identities(database, [each.issuer for each in providers.values()])
    linking = Linking(
        database, keyring, providers, url, identities, sign_in, sessions, mailbox, audit
    )  # fmt: skip
    newcomers = Newcomers(database, settings.auth.registration, audit)
    return OAuth(database, keyring, providers, egress, url, sign_in, newcomers, identities, linking)
