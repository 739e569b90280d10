"""Which gateway the client commands talk to, and by which key.

Options and environment come first. Without them it is the gateway that ``neurogrid up`` runs here: its
``credentials.json`` names URL and key. That key is sent to no other URL.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from platformdirs import user_data_path

from neurogrid.cli.failures import Failure

if TYPE_CHECKING:
    from neurogrid.client import Client

CREDENTIALS = "credentials.json"
DEFAULT_URL = "http://127.0.0.1:8000"


def connect(url: str | None, api_key: str | None) -> Client:
    """Return a client; ``url`` and ``api_key`` are the options given, if any."""
    url, api_key = resolve(url, api_key, read_credentials(data_dir()))
    from neurogrid.client import Client

    return Client(url, api_key)


def resolve(url: str | None, api_key: str | None, credentials: dict[str, Any]) -> tuple[str, str]:
    """Return URL and key. Raises ``Failure`` when there is no key for the URL."""
    own_url = str(credentials.get("url") or DEFAULT_URL)
    url = url or own_url
    if api_key:
        return url, api_key
    own_key = credentials.get("api_key")
    if own_key and url.rstrip("/") == own_url.rstrip("/"):
        return url, str(own_key)
    hint = "Give one by --api-key or NEUROGRID_API_KEY, or start a gateway here with `neurogrid up`."
    raise Failure(f"there is no API key for {url}", hint=hint)


def read_credentials(directory: Path) -> dict[str, Any]:
    """Return what ``neurogrid up`` wrote in its data directory, nothing when it never ran."""
    path = directory / CREDENTIALS
    try:
        found = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError:
        raise Failure(f"{path} belongs to somebody else", hint="Give a key by --api-key.") from None
    except orjson.JSONDecodeError:
        raise Failure(f"{path} is damaged", hint="Remove it and restart `neurogrid up`.") from None
    return found if isinstance(found, dict) else {}


def data_dir() -> Path:
    """Return the data directory that settings would choose, without loading settings."""
    given = os.environ.get("NEUROGRID_DATA_DIR")
    return Path(given) if given else user_data_path("neurogrid")
