"""The node's end of the llama.cpp child process: start it, talk to it, notice its death."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from neurogrid.runners.base import ModelUnavailable, TaskError

_LINE_LIMIT = 1024 * 1024
_START_TIMEOUT = 120.0
_STOP_TIMEOUT = 8.0
"""A cancelled generation ends within one token, a prompt within one batch; past this the child is killed."""
_TAIL = 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Generated:
    """How a generation ended: ``reason`` is ``stop`` or ``length``."""

    reason: str
    prompt_tokens: int
    completion_tokens: int


class LlamaProcess:
    """One child, one generation at a time. It is started anew by the first use after its death."""

    def __init__(self, weights: Path, *, context: int, threads: int) -> None:
        self._setup = {"weights": str(weights), "context": context, "threads": threads}
        self._process: Process | None = None
        self._errors: asyncio.Task[None] | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._receiving = False

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start the child and load the weights, unless it runs already. Raises ``ModelUnavailable``."""
        if self.pid is not None:
            return
        await self.close()
        command = [sys.executable, "-P", "-m", "neurogrid.runners.llama_child"]
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=_LINE_LIMIT
        )
        self._errors = asyncio.create_task(self._collect_errors(self._process))
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await self._send(self._setup)
                reply = await self._receive()
        except _ChildDiedError as error:
            await self.close()
            msg = f"llama.cpp died while loading ({error}); {_hint(error)}"
            raise ModelUnavailable(msg) from error
        except BaseException:
            await self.close()
            raise
        if "unavailable" in reply:
            await self.close()
            raise ModelUnavailable(str(reply["unavailable"]))

    async def generate(
        self,
        body: dict[str, Any],
        on_text: Callable[[str], Awaitable[None]],
        on_alive: Callable[[], None],
    ) -> Generated:
        """Run one chat completion, handing over each piece of text as it comes.

        Raises ``TaskError``: ``context_exceeded`` for a prompt too long, ``model_crashed`` (retryable) when
        the child dies, ``model_unavailable`` (retryable) when it cannot be started again. Cancelling stops
        the generation before it returns.
        """
        try:
            await self.start()
            await self._send({"generate": body})
            reply = await self._follow(on_text, on_alive)
        except _ChildDiedError as error:
            log.warning("llama.died", status=str(error), output=list(self._tail))
            await self.close()
            msg = f"the model's process died ({error}); the next attempt gets a new one"
            raise TaskError("model_crashed", msg, retryable=True) from error
        except ModelUnavailable as error:
            raise TaskError("model_unavailable", str(error), retryable=True) from error
        except BaseException:
            await self._stop_generating()
            raise
        if "error" in reply:
            code = reply["code"]
            raise TaskError(code, reply["error"], retryable=code != "context_exceeded")
        return Generated(reply["end"], reply["prompt_tokens"], reply["completion_tokens"])

    async def _follow(
        self, on_text: Callable[[str], Awaitable[None]], on_alive: Callable[[], None]
    ) -> dict[str, Any]:
        while True:
            reply = await self._receive()
            if "text" in reply:
                await on_text(reply["text"])
            elif "alive" in reply:
                on_alive()
            else:
                return reply

    async def close(self) -> None:
        """Kill the child and collect what is left of it; idempotent."""
        process, self._process = self._process, None
        errors, self._errors = self._errors, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            if process.stdin is not None:
                process.stdin.close()
            if process.stdout is not None and not self._receiving:
                await process.stdout.read()  # asyncio closes a pipe only once it has seen its end
            await process.wait()
        if errors is not None:
            await errors

    async def _stop_generating(self) -> None:
        if self._process is None:
            return
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await self._send({"cancel": True})
                while True:
                    reply = await self._receive()
                    if "end" in reply or "error" in reply:
                        return
        except (_ChildDiedError, TimeoutError):
            log.warning("llama.does_not_stop", pid=self.pid)
            await self.close()
        except asyncio.CancelledError:
            await self.close()
            raise

    async def _send(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise _ChildDiedError(None)
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _ChildDiedError(await process.wait()) from error

    async def _receive(self) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdout is None:
            raise _ChildDiedError(None)
        self._receiving = True
        try:
            line = await process.stdout.readline()
        finally:
            self._receiving = False
        if not line.endswith(b"\n"):
            raise _ChildDiedError(await process.wait())
        reply: dict[str, Any] = json.loads(line)
        return reply

    async def _collect_errors(self, process: Process) -> None:
        if process.stderr is None:
            return
        while line := await process.stderr.readline():
            text = line.decode(errors="replace").rstrip()
            self._tail.append(text)
            log.debug("llama.says", text=text)


class _ChildDiedError(Exception):
    def __init__(self, status: int | None) -> None:
        super().__init__(_describe(status))
        self.status = status


def _describe(status: int | None) -> str:
    if status is None:
        return "not running"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _hint(error: _ChildDiedError) -> str:
    if error.status == -signal.SIGKILL:
        return "it was killed, perhaps for want of memory: it needs about 250 MB"
    if error.status == -signal.SIGILL:
        return "this processor lacks instructions that the package xllamacpp was built for"
    return "run the node with NEUROGRID_LOG_LEVEL=DEBUG to see what it printed"
