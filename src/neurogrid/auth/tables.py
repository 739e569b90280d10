"""Users, what they sign in with, and the sessions they then have.

Random credentials are kept as SHA-256, passwords as Argon2id; what has to be read again is sealed by a key that
is derived from ``NEUROGRID_SECRET_KEY`` (``core.crypto``), which is not in the database.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from neurogrid.core.db import Base, Id, UtcDateTime


class User(Base):
    """Somebody who owns tasks. ``email`` is kept in lower case."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    email: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    tier: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    email_verified_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    password_changed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("uq_users_email", func.lower(email), unique=True),
        Index("ix_users_role_id", "role", "id"),
        Index("ix_users_tier_id", "tier", "id"),
    )


class ApiKey(Base):
    """A key of a user; only its SHA-256 is kept, ``prefix`` is what people recognise it by.

    ``scopes`` are the permissions and ``networks`` the places it was made for, separated by spaces; null: all.
    ``successor`` is the id of the key that it was exchanged for. What it may do in an hour is counted under the id
    ``counted_as``, its own if null, together with that of others: the one it was exchanged for, and those it made.
    ``made_by`` is the id of the key that made it, or of the one that that was exchanged for; null: a session or an
    operator made it.
    """

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    scopes: Mapped[str | None] = mapped_column(Text)
    networks: Mapped[str | None] = mapped_column(Text)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    successor: Mapped[str | None] = mapped_column(Id)
    requests_per_minute: Mapped[int | None]
    requests_per_hour: Mapped[int | None]
    tasks_per_hour: Mapped[int | None]
    counted_as: Mapped[str | None] = mapped_column(Id)
    made_by: Mapped[str | None] = mapped_column(Id, index=True)


class AuthSession(Base):
    """A sign-in that lasts, on one device: the family of its refresh tokens.

    ``methods`` names, separated by spaces, what was shown (``password``, ``totp``, …), ``authenticated_at`` when it
    was shown last: sensitive acts ask for a recent one. ``network`` is the prefix of ``address`` by which a place
    is recognised. ``ended`` says why there is a ``revoked_at``.
    """

    __tablename__ = "auth_sessions"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"))
    methods: Mapped[str] = mapped_column(Text)
    user_agent: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    network: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    authenticated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index(
            "ix_auth_sessions_living",
            "user_id",
            "last_used_at",
            postgresql_where=text("revoked_at IS NULL"),
            sqlite_where=text("revoked_at IS NULL"),
        ),
        Index("ix_auth_sessions_places", "user_id", "network"),
    )


class RefreshToken(Base):
    """A refresh token of a session, good for one use; ``successor`` is the hash of the one it was exchanged for."""

    __tablename__ = "refresh_tokens"

    hash: Mapped[str] = mapped_column(Text, primary_key=True)
    session_id: Mapped[str] = mapped_column(
        Id, ForeignKey("auth_sessions.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    successor: Mapped[str | None] = mapped_column(Text)


class OneTimeToken(Base):
    """A credential for one purpose, used once: a mailed link, the wait for a second factor, a challenge, a state.

    ``user_id`` is null where it is not known yet whose it will be. ``payload`` is JSON; ``attempts`` counts guesses
    where the purpose allows some.
    """

    __tablename__ = "one_time_tokens"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str | None] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"))
    purpose: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text, unique=True)
    payload: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_one_time_tokens_user_id_purpose", "user_id", "purpose"),)


class Invitation(Base):
    """Leave to register, for one account; ``email`` null lets in any address."""

    __tablename__ = "invitations"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    hash: Mapped[str] = mapped_column(Text, unique=True)
    email: Mapped[str | None] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    tier: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    used_by: Mapped[str | None] = mapped_column(Id, ForeignKey("users.id", ondelete="SET NULL"), index=True)


class SignInFailure(Base):
    """How often somebody was wrong of late about ``subject``, from ``place``.

    ``subject`` is a keyed hash of what was guessed at, so that no address of a stranger, nor a password typed into
    the wrong field, is kept. ``place`` is a network, a known device, or ``*`` for everywhere together.
    """

    __tablename__ = "sign_in_failures"

    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    place: Mapped[str] = mapped_column(Text, primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    blocked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Mail(Base):
    """A mail to be sent. ``body`` is sealed, since it may hold a token, and is emptied when the mail is sent."""

    __tablename__ = "mails"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    recipient: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer)

    __table_args__ = (
        Index("ix_mails_recipient_created_at", "recipient", "created_at"),
        Index(
            "ix_mails_waiting",
            "created_at",
            postgresql_where=text("sent_at IS NULL"),
            sqlite_where=text("sent_at IS NULL"),
        ),
    )


class UserTotp(Base):
    """The authenticator app of a user, whose ``secret`` is sealed.

    It counts from ``confirmed_at`` on. ``last_step`` is the newest time step whose code was taken; that code and the
    ones before it are not taken again.
    """

    __tablename__ = "user_totp"

    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_step: Mapped[int] = mapped_column(BigInteger)


class RecoveryCode(Base):
    """A code that stands once for a lost second factor."""

    __tablename__ = "recovery_codes"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    hash: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Passkey(Base):
    """A WebAuthn credential. ``transports`` are separated by spaces; ``sign_count`` shows a cloned authenticator."""

    __tablename__ = "passkeys"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    credential_id: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sign_count: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(Text)
    transports: Mapped[str] = mapped_column(Text)
    aaguid: Mapped[str] = mapped_column(Text)
    backed_up: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class OAuthIdentity(Base):
    """An account elsewhere by which a user signs in here; ``issuer`` and ``subject`` name it for ever."""

    __tablename__ = "oauth_identities"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    provider: Mapped[str] = mapped_column(Text)
    issuer: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    email: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index("uq_oauth_identities_issuer_subject", "issuer", "subject", unique=True),)


class AuditEntry(Base):
    """An act that matters for security. ``seq`` has no gap; ``hash`` is over all the rest, ``previous`` included.

    ``actor`` is the id of a user, ``via`` what they came by; no row of ours refers to another table, since it
    outlives whatever it is about. ``details`` is JSON, kept as it was hashed.
    """

    __tablename__ = "audit_log"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    actor: Mapped[str | None] = mapped_column(Text)
    via: Mapped[str | None] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    target: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(Text)
    details: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        Index("ix_audit_log_actor_seq", "actor", "seq"),
        Index("ix_audit_log_action_seq", "action", "seq"),
        Index("ix_audit_log_target_seq", "target", "seq"),
    )


class AuditHead(Base):
    """The newest entry's number and hash, in the one row there is; whoever adds an entry holds it."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(Text)
