"""The built-in models by name, and how a node loads those it was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path

import structlog

from neurogrid.runners.base import ModelUnavailable, Runner
from neurogrid.runners.debug import DebugEcho, DebugFail, DebugRecite, DebugSleep
from neurogrid.runners.embeddings import Embeddings
from neurogrid.runners.file_type import FileType
from neurogrid.runners.language import Language
from neurogrid.runners.sentiment import Sentiment
from neurogrid.runners.text_generation import SmolLM2

log = structlog.get_logger(__name__)

DEBUG_PREFIX = "debug."


class LoadState(StrEnum):
    """How far the loading of a model is."""

    LOADING = "loading"
    READY = "ready"
    UNAVAILABLE = "unavailable"


OnLoad = Callable[[str, LoadState, str], None]
"""Called with the model's name, how far it is, and the reason when it is unavailable."""


def build(
    names: Sequence[str] | None = None, *, debug: bool = False, models_dir: Path | None = None
) -> list[Runner]:
    """Return runners, not loaded yet, for ``names`` (default: all built-in models).

    ``debug`` admits the debug models, and adds them to the default. Raises ``ValueError`` naming the
    models that do not exist.
    """
    runners: list[Runner] = [SmolLM2(models_dir), Embeddings(), Language(), Sentiment(), FileType()]
    if debug:
        runners += [DebugEcho(), DebugSleep(), DebugFail(), DebugRecite()]
    if names is None:
        return runners
    by_name = {runner.spec.name: runner for runner in runners}
    if unknown := [name for name in names if name not in by_name]:
        hint = "" if debug else " (debug models need NEUROGRID_DEBUG_MODELS=true)"
        hint = hint if any(name.startswith(DEBUG_PREFIX) for name in unknown) else ""
        msg = f"no such model: {', '.join(unknown)}{hint}; there are {', '.join(by_name)}"
        raise ValueError(msg)
    return [by_name[name] for name in dict.fromkeys(names)]


async def load_all(
    runners: Iterable[Runner], on_load: OnLoad = lambda *_: None
) -> tuple[list[Runner], dict[str, str]]:
    """Load concurrently; return the runners that work and, by model name, why the others do not."""
    order = list(runners)
    reasons = await asyncio.gather(*(_load(runner, on_load) for runner in order))
    loaded = [runner for runner, reason in zip(order, reasons, strict=True) if reason is None]
    refused = {
        runner.spec.name: reason for runner, reason in zip(order, reasons, strict=True) if reason is not None
    }
    return loaded, refused


async def close_all(runners: Iterable[Runner]) -> None:
    """Close every runner, whatever the others do."""
    order = list(runners)
    results = await asyncio.gather(*(runner.close() for runner in order), return_exceptions=True)
    for runner, result in zip(order, results, strict=True):
        if isinstance(result, Exception):
            log.error("model.close_failed", model=runner.spec.name, exc_info=result)


async def _load(runner: Runner, on_load: OnLoad) -> str | None:
    name = runner.spec.name
    on_load(name, LoadState.LOADING, "")
    started = asyncio.get_running_loop().time()
    try:
        await runner.load()
    except ModelUnavailable as error:
        reason = str(error)
    except Exception as error:  # one model's defect must not keep a node from serving the others
        log.exception("model.load_failed", model=name)
        reason = f"{type(error).__name__}: {error}"
    else:
        seconds = round(asyncio.get_running_loop().time() - started, 3)
        log.info("model.loaded", model=name, version=runner.spec.version, seconds=seconds)
        on_load(name, LoadState.READY, "")
        return None
    log.warning("model.unavailable", model=name, reason=reason)
    on_load(name, LoadState.UNAVAILABLE, reason)
    return reason
