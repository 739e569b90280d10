"""The process in which llama.cpp runs, so that a crash of native code cannot take the node with it.

``python -P -m neurogrid.runners.llama_child`` speaks JSON, one object a line. On standard input: first
``{"weights": path, "context": tokens, "threads": n}``, then ``{"generate": {…chat completion body…}}`` and
``{"cancel": true}``. On standard output: ``{"ready": true}`` or ``{"unavailable": why}``, then for each
``generate`` any number of ``{"text": …}`` and ``{"alive": true}`` and exactly one of ``{"end": reason,
"prompt_tokens": n, "completion_tokens": n}`` or ``{"error": message, "code": …}``.

It must not outlive its parent, even one that was killed: end of file on standard input ends it at once,
and Linux is asked to kill it too. It ignores SIGINT and SIGTERM, which a terminal or an init system sends
to the whole group: the parent decides when it ends, after its drain.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import secrets
import signal
import sys
import threading
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
PREFILL_BATCH = 128
"""Prompt tokens between two signs of life, and two looks at a cancel: under a second on one slow core."""


class Child:
    """One llama.cpp server, used in process, and the pipe to the node."""

    def __init__(self, requests: IO[bytes], replies: IO[bytes]) -> None:
        self._requests = requests
        self._replies = replies
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled = threading.Event()

    def serve(self) -> None:
        """Load, then answer one request after the other until the parent is gone."""
        setup = json.loads(self._requests.readline())
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            server = load_server(setup)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            self._reply({"unavailable": f"{type(error).__name__}: {error}"})
            return
        self._reply({"ready": True})
        while True:
            body = self._orders.get()
            try:
                self._generate(server, body)
            except (RuntimeError, ValueError, TypeError) as error:
                self._reply({"error": f"{type(error).__name__}: {error}", "code": "model_error"})

    def _listen(self) -> None:
        for line in self._requests:
            message = json.loads(line)
            if "generate" in message:
                self._cancelled.clear()
                self._orders.put(message["generate"])
            elif "cancel" in message:
                self._cancelled.set()
        os._exit(0)  # the parent is gone, and native code may be busy: no way but this to stop at once

    def _reply(self, message: dict[str, Any]) -> None:
        self._replies.write(json.dumps(message).encode() + b"\n")
        self._replies.flush()

    def _generate(self, server: Any, body: dict[str, Any]) -> None:
        ending: dict[str, Any] = {"end": "cancelled", "prompt_tokens": 0, "completion_tokens": 0}

        def on_chunk(chunk: dict[str, Any]) -> bool:
            if "error" in chunk:
                ending.clear()
                ending.update(error=str(chunk["error"].get("message")), code=_error_code(chunk["error"]))
            elif text := _text(chunk, ending):
                self._reply({"text": text})
            elif "prompt_progress" in chunk:
                self._reply({"alive": True})
            return self._cancelled.is_set()

        if not self._cancelled.is_set():
            server.handle_chat_completions(body, on_chunk)
        self._reply(ending)


def load_server(setup: dict[str, Any]) -> Any:
    """Load the weights. xllamacpp opens a port on 127.0.0.1 whether asked or not: a random key locks it."""
    import xllamacpp  # type: ignore[import-untyped]

    params = xllamacpp.CommonParams()
    params.model.path = setup["weights"]
    params.n_ctx = setup["context"]
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = PREFILL_BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = setup["threads"]
    params.n_threads_http = 1
    params.api_keys = [secrets.token_urlsafe(32)]
    params.ui = params.endpoint_slots = params.endpoint_props = False
    params.fit_params = params.warmup = False
    params.cache_ram_mib = 0
    params.verbosity = -1
    return xllamacpp.Server(params)


def _text(chunk: dict[str, Any], ending: dict[str, Any]) -> str:
    if usage := chunk.get("usage"):
        ending["prompt_tokens"] = usage["prompt_tokens"]
        ending["completion_tokens"] = usage["completion_tokens"]
    text = ""
    for choice in chunk.get("choices", ()):
        text += choice.get("delta", {}).get("content") or ""
        ending["end"] = choice.get("finish_reason") or ending["end"]
    return text


def _error_code(error: dict[str, Any]) -> str:
    return "context_exceeded" if error.get("type") == "exceed_context_size_error" else "model_error"


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Keep the pipe to the parent apart from standard output, where native code may print."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with_parent()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Child(sys.stdin.buffer, replies).serve()


if __name__ == "__main__":
    main()
