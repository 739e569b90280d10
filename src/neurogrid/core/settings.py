"""All settings, read once in an entry point and passed down (design §7).

Values come from, in this order: arguments, environment variables (prefix ``NEUROGRID_``, nesting ``__``),
``.env`` in the working directory, the defaults below. Sizes are in bytes, times in seconds.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from neurogrid.core.settings_access import AccessSettings
from neurogrid.core.settings_auth import AuthSettings, MailSettings, check_secret
from neurogrid.core.settings_base import KIB, MIB, Seconds, Section
from neurogrid.core.settings_egress import EgressSettings
from neurogrid.core.settings_limits import LimitSettings
from neurogrid.core.settings_oauth import OAuthSettings

LEASE_SHARE = 2.5
"""How often within a lease nodes and gateways have to be heard of, at least."""

DATABASES = ("postgresql+asyncpg://", "sqlite+aiosqlite://")
REDISES = ("redis://", "rediss://", "unix://")


class Environment(StrEnum):
    """Where this process runs; production refuses unsafe defaults."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class TaskSettings(Section):
    """What a task may be."""

    default_model: str = Field("smollm2-135m", description="Model of a task that names none.")
    max_body: int = Field(1 * MIB, gt=0, description="Largest request body for one task.")
    max_depth: int = Field(64, gt=0, description="Deepest nesting of JSON in a request body.")
    max_wait: Seconds = Field(60.0, description="Longest `Prefer: wait=N`.")
    max_attempts: int = Field(3, ge=1, le=100, description="Attempts of a task that names no number.")
    max_losses: int = Field(5, ge=1, description="Nodes a task may lose before it is a dead letter.")
    max_queued: int = Field(100_000, gt=0, description="Unfinished tasks one user may have.")
    max_output: int = Field(16 * MIB, gt=0, description="Largest output a task may have.")
    retry_base: Seconds = Field(1.0, description="Delay before the first retry; doubles each time.")
    retry_max: Seconds = Field(300.0, description="Longest delay before a retry.")


class JournalSettings(Section):
    """The group-commit journal (R8-R14)."""

    batch_rows: int = Field(512, gt=0, description="Rows of one transaction at most.")
    batch_bytes: int = Field(1 * MIB, gt=0, description="Bytes of one transaction at most.")
    queue_rows: int = Field(20_000, gt=0, description="Rows that may wait for the writer.")
    queue_bytes: int = Field(64 * MIB, gt=0, description="Bytes that may wait for the writer.")
    max_wait: Seconds = Field(5.0, description="Longest time a caller waits for its row.")
    inline_output: int = Field(256 * KIB, gt=0, description="Outputs above this go to a row of their own.")


class GridSettings(Section):
    """Node sessions and dispatch (R1-R7, R15-R18)."""

    lease: Seconds = Field(10.0, description="A node silent for longer loses its tasks.")
    heartbeat: Seconds = Field(3.0, description="How often a node says that it lives.")
    poll: Seconds = Field(1.0, description="How often a gateway looks for work without being told.")
    poll_alone: Seconds = Field(0.2, description="The same while Redis is away.")
    reconcile: Seconds = Field(1.0, description="How often memory is compared with the database (R7).")
    sweep: Seconds = Field(1.0, description="How often lost sessions are looked for.")
    orphan_sweep: Seconds = Field(10.0, description="How often running tasks without session are.")
    shutdown_grace: Seconds = Field(10.0, description="How long SIGTERM waits for running requests.")

    @model_validator(mode="after")
    def _leases_can_be_judged(self) -> Self:
        """Refuse a lease that runs out between two heartbeats, or that no gateway may ever declare lost (R4)."""
        for name, interval in (("heartbeat", self.heartbeat), ("reconcile", self.reconcile)):
            if self.lease < LEASE_SHARE * interval:
                msg = f"lease must be at least {LEASE_SHARE:g} times {name}: {LEASE_SHARE * interval:g} s"
                raise ValueError(msg)
        return self


class LiveSettings(Section):
    """WebSocket, SSE and the event bus (R21-R26)."""

    buffer: int = Field(256, gt=0, description="Events a slow client may lag before it is closed (1013).")
    stream_length: int = Field(4096, gt=0, description="Events kept of a running task.")
    stream_linger: Seconds = Field(60.0, description="How long a finished task's events stay replayable.")
    authenticate_within: Seconds = Field(10.0, description="Time to authenticate on a WebSocket (4408).")
    heartbeat: Seconds = Field(20.0, description="Ping interval of WebSocket and SSE connections.")
    stats_interval: Seconds = Field(5.0, description="How often the `stats` channel speaks.")
    max_subscriptions: int = Field(1000, gt=0, description="Channels one connection may follow.")
    connections_per_user: int = Field(1000, gt=0, description="Live connections of one user (4429).")
    max_message: int = Field(64 * KIB, gt=0, description="Largest message a client may send.")
    messages_per_second: float = Field(
        50.0, gt=0, description="Messages a client may send, lastingly (4429)."
    )
    message_burst: int = Field(1500, gt=0, description="Messages a client may send at once.")
    disconnect_grace: Seconds = Field(
        3.0,
        description="How long a reader may be gone before a task with `on_disconnect: cancel` is cancelled.",
    )
    waiter_poll: Seconds = Field(5.0, description="How often awaited tasks are looked up (R24).")
    waiter_poll_alone: Seconds = Field(0.5, description="The same while Redis is away.")
    redis_timeout: Seconds = Field(0.25, description="Redis is taken for away after this.")


class Settings(BaseSettings):
    """The whole configuration of one process."""

    model_config = SettingsConfigDict(
        env_prefix="NEUROGRID_",
        env_nested_delimiter="__",
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    env: Environment = Field(Environment.DEVELOPMENT, description="`development` or `production`.")
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("neurogrid"),
        description="Where the embedded default keeps its database and credentials.",
    )
    secret_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("NEUROGRID_SECRET_KEY", "JWT_SECRET"),
        description="What tokens are signed and secrets sealed by, 32 bytes or more; all gateways have the same "
        "(default outside production: made in the data dir).",
    )
    public_url: str | None = Field(
        None,
        description="Where users reach the grid, for links in mails (default: `http://HOST:PORT`).",
    )
    database_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("NEUROGRID_DATABASE_URL", "DATABASE_URL"),
        description="`postgresql+asyncpg://…` or `sqlite+aiosqlite:///…` (default: SQLite in the data dir).",
    )
    database_wait: float = Field(
        60.0,
        ge=0,
        description="How long `serve` waits at its start for a PostgreSQL that is away, not ready meanwhile.",
    )
    redis_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("NEUROGRID_REDIS_URL", "REDIS_URL"),
        description="`redis://…`; without it one gateway serves alone, in process.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("NEUROGRID_PORT", "PORT"),
        description="Port to listen on; 0 picks a free one.",
    )
    log_level: str = Field(
        "INFO",
        validation_alias=AliasChoices("NEUROGRID_LOG_LEVEL", "LOG_LEVEL"),
        description="`DEBUG`, `INFO`, `WARNING` or `ERROR`.",
    )
    log_json: bool | None = Field(None, description="JSON log lines (default: when not on a terminal).")
    debug_models: bool = Field(False, description="Serve `debug.echo`, `debug.sleep` and `debug.fail`.")
    enable_api_docs: bool = Field(
        True,
        validation_alias=AliasChoices("NEUROGRID_ENABLE_API_DOCS", "ENABLE_API_DOCS"),
        description="Serve `/docs`, `/redoc` and `/openapi.json`.",
    )
    tasks: TaskSettings = TaskSettings()
    journal: JournalSettings = JournalSettings()
    grid: GridSettings = GridSettings()
    live: LiveSettings = LiveSettings()
    limits: LimitSettings = LimitSettings()
    access: AccessSettings = AccessSettings()
    auth: AuthSettings = AuthSettings()
    mail: MailSettings = MailSettings()
    oauth: OAuthSettings = OAuthSettings()
    egress: EgressSettings = EgressSettings()

    @field_validator("secret_key")
    @classmethod
    def _secret_is_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            check_secret(secret)
        return secret

    @field_validator("public_url")
    @classmethod
    def _public_url_is_one(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            msg = "begins with neither https:// nor http://"
            raise ValueError(msg)
        return url.rstrip("/") if url else url

    @field_validator("database_url")
    @classmethod
    def _database_is_of_a_kind_we_know(cls, url: SecretStr | None) -> SecretStr | None:
        """Refuse what no driver of ours speaks; the value stays unsaid, since it may hold a password (ADR 0006)."""
        if url is not None and not _with_driver(url.get_secret_value()).startswith(DATABASES):
            msg = "begins with neither postgresql:// (driver asyncpg) nor sqlite:/// (driver aiosqlite)"
            raise ValueError(msg)
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis_is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(REDISES):
            msg = f"begins with none of {', '.join(REDISES)}"
            raise ValueError(msg)
        return url

    @model_validator(mode="after")
    def _passkeys_are_for_where_users_are(self) -> Self:
        domain = self.auth.passkey_domain
        if domain is not None:
            host = urlsplit(self.effective_public_url).hostname or ""
            if host != domain and not host.endswith(f".{domain}"):
                msg = f"auth.passkey_domain is neither the host of public_url ({host}) nor a domain above it"
                raise ValueError(msg)
        return self

    @property
    def effective_database_url(self) -> str:
        """The database to use: the given one, else SQLite in the data directory."""
        if self.database_url is not None:
            return _with_driver(self.database_url.get_secret_value())
        return f"sqlite+aiosqlite:///{self.data_dir / 'neurogrid.db'}"

    @property
    def effective_public_url(self) -> str:
        """Where links in mails lead; never what a request calls us."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def verified_email_required(self) -> bool:
        """Whether submitting tasks takes a verified e-mail address."""
        required = self.auth.require_verified_email
        return self.env is Environment.PRODUCTION if required is None else required

    @property
    def on_sqlite(self) -> bool:
        """Whether the truth is one SQLite file, which admits a single gateway process."""
        return self.effective_database_url.startswith("sqlite")


def _with_driver(url: str) -> str:
    for plain, driver in (
        ("postgresql://", "postgresql+asyncpg://"),
        ("postgres://", "postgresql+asyncpg://"),
        ("sqlite://", "sqlite+aiosqlite://"),
    ):
        if url.startswith(plain):
            return driver + url.removeprefix(plain)
    return url
