"""Mails: rows written in the transaction that causes them, sealed because they may hold tokens, sent later.

``neurogrid up`` has no mail server; ``Outbox`` writes its mails as files that a mail program opens.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import orjson
import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from neurogrid.auth.tables import Mail
from neurogrid.core.crypto import Keyring
from neurogrid.core.db import Database
from neurogrid.core.ids import new_id, now

log = structlog.get_logger(__name__)

BATCH = 50
KEPT = timedelta(days=30)
"""How long it is kept that a mail was sent."""
HOURLY = 5
"""Mails that strangers can have sent to one address in an hour."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says."""

    subject: str
    text: str
    html: str | None = None


@dataclass(frozen=True, slots=True)
class WaitingMail:
    """A mail to be sent."""

    id: str
    recipient: str
    letter: Letter
    created_at: datetime

    def message(self, sender: str) -> EmailMessage:
        """Return it in the form that mail servers take. Raises ``ValueError`` for a line break in a header."""
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"], message["Subject"] = sender, self.recipient, self.letter.subject
        message["Date"] = self.created_at
        message["Message-ID"] = f"<{self.id}@neurogrid>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self.letter.text)
        if self.letter.html is not None:
            message.add_alternative(self.letter.html, subtype="html")
        return message


class Mailbox:
    """Writes mails into the database, and reads them again for whoever sends them."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        """Keep them in ``database``, sealed by ``keyring``."""
        self._database = database
        self._keyring = keyring

    async def write(self, transaction: AsyncSession, recipient: str, letter: Letter) -> None:
        """Have ``letter`` sent, if the transaction commits."""
        id = new_id()
        body = orjson.dumps({"text": letter.text, "html": letter.html})
        transaction.add(
            Mail(
                id=id,
                recipient=recipient,
                subject=letter.subject,
                body=self._keyring.seal(body, _place(id)),
                created_at=now(),
                sent_at=None,
                attempts=0,
            )
        )
        await transaction.flush()

    async def may_write(self, transaction: AsyncSession, recipient: str) -> bool:
        """Tell whether a stranger may have another mail sent to ``recipient`` now."""
        since = now() - timedelta(hours=1)
        sent = await transaction.scalar(
            select(func.count()).where(Mail.recipient == recipient, Mail.created_at > since)
        )
        return (sent or 0) < HOURLY

    async def waiting(self) -> list[WaitingMail]:
        """Return the oldest mails that are not sent."""
        rows = await self._database.all(
            select(Mail.id, Mail.recipient, Mail.subject, Mail.body, Mail.created_at)
            .where(Mail.sent_at.is_(None))
            .order_by(Mail.created_at)
            .limit(BATCH)
        )
        mails = []
        for row in rows:
            body = self._keyring.unseal(row["body"], _place(row["id"]))
            if body is None:
                log.warning("mail.unreadable", mail=row["id"], hint="the secret key it was sealed by is gone")
                await self.sent(row["id"])
                continue
            letter = Letter(row["subject"], **orjson.loads(body))
            mails.append(WaitingMail(row["id"], row["recipient"], letter, row["created_at"]))
        return mails

    async def sent(self, id: str) -> None:
        """Note that a mail is sent, and forget what it said."""
        async with self._database.transaction() as transaction:
            await transaction.execute(
                update(Mail).where(Mail.id == id).values(sent_at=now(), attempts=Mail.attempts + 1, body=b"")
            )

    async def forget(self) -> None:
        """Delete what was sent long ago."""
        async with self._database.transaction() as transaction:
            await transaction.execute(delete(Mail).where(Mail.sent_at < now() - KEPT))


class Outbox:
    """Writes mails as ``.eml`` files, for a grid without a mail server."""

    def __init__(self, mailbox: Mailbox, directory: Path, sender: str) -> None:
        """Write what waits in ``mailbox`` to ``directory``."""
        self._mailbox = mailbox
        self._directory = directory
        self._sender = sender

    async def deliver(self) -> None:
        """Write what waits; killed in the middle, a mail is written again under the same name."""
        for mail in await self._mailbox.waiting():
            name = f"{mail.created_at:%Y%m%dT%H%M%S}-{mail.id}.eml"
            content = mail.message(self._sender).as_bytes()
            await asyncio.to_thread(_write, self._directory, name, content)
            await self._mailbox.sent(mail.id)


def _write(directory: Path, name: str, content: bytes) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = directory / f".{name}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(directory / name)


def _place(id: str) -> str:
    return f"mail {id}"
