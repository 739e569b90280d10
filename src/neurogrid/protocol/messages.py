"""The messages of the node protocol, tagged by ``type``; ``frames`` says how they travel.

Typed with msgspec because the chunk path decodes tens of thousands of these a second and has to
pass the payload on as raw bytes (``msgspec.Raw``), which pydantic cannot do. Unknown fields and
unknown message types are ignored by both sides, so that a newer peer can speak to an older one (R30).

Every message that concerns an execution carries ``(task, attempt)``, the fence of R1.
"""

from __future__ import annotations

from typing import Any

import msgspec

PROTOCOL_VERSION = 1
FIRST_NODE_SEQ = 2
"""Sequence number of a node's first event in an attempt; 0 and 1 belong to the gateway (R21)."""

Execution = tuple[str, int]
"""(task id, attempt)."""
Progress = tuple[str, int, int]
"""(task id, attempt, sequence number of the last event emitted, ``FIRST_NODE_SEQ - 1`` if none)."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """Base of all wire messages."""


class ModelSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node says about one model it serves.

    ``input_schema`` and ``parameters_schema`` are JSON Schema (draft 2020-12). ``deterministic`` means
    that equal input and parameters give equal output unless ``parameters`` say otherwise (a temperature
    above 0). ``max_silence`` is in seconds: a running task without any sign of life for longer is taken
    away from the node (R5).
    """

    name: str
    version: str
    kind: str
    description: str = ""
    input_schema: dict[str, Any] = {}
    parameters_schema: dict[str, Any] = {}
    example_input: Any = None
    slots: int = 1
    batch: int = 1
    max_silence: float = 60.0
    deterministic: bool = False
    streams: bool = False


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an attempt consumed. Tokens are counted by the model; compute is wall time on the node."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    compute_seconds: float = 0.0


class Failure(msgspec.Struct, frozen=True):
    """Why a task failed: a stable code and a sentence for people."""

    code: str
    message: str


# --- node -> gateway ---------------------------------------------------------------------------


class Chunk(Message, frozen=True, tag="chunk"):
    """A piece of live output, ``data`` being raw JSON (text models: ``{"text": …}``)."""

    task: str
    attempt: int
    seq: int
    data: msgspec.Raw


class TaskProgress(Message, frozen=True, tag="progress"):
    """How far a task is, ``data`` being ``{"done": n, "total": n | null, "message": …}``."""

    task: str
    attempt: int
    seq: int
    data: msgspec.Raw


class Metric(Message, frozen=True, tag="metric"):
    """Named figures of a step, e.g. ``{"step": 3, "loss": 0.41}``."""

    task: str
    attempt: int
    seq: int
    data: msgspec.Raw


class Log(Message, frozen=True, tag="log"):
    """A line the model wrote for the task's owner, ``{"level": "info", "message": …}``."""

    task: str
    attempt: int
    seq: int
    data: msgspec.Raw


class Snapshot(Message, frozen=True, tag="snapshot"):
    """Answer to ``resend`` when the node no longer keeps single chunks: everything up to ``seq`` folded."""

    task: str
    attempt: int
    seq: int
    text: str


class Result(Message, frozen=True, tag="result"):
    """The task completed. Kept by the node until ``committed`` or ``refused`` (R6).

    ``seq`` is that of the last node event of the attempt (``FIRST_NODE_SEQ - 1`` if none).
    """

    task: str
    attempt: int
    seq: int
    output: msgspec.Raw
    usage: Usage = Usage()


class Error(Message, frozen=True, tag="error"):
    """The task failed on the node; ``retryable`` errors are tried again while charges remain."""

    task: str
    attempt: int
    seq: int
    error: Failure
    retryable: bool = True
    usage: Usage = Usage()


class Hello(Message, frozen=True, tag="hello"):
    """First message of a node, also after each reconnect.

    ``session`` is the one it held before, if any. ``running`` is what it still works on; ``done`` the
    results no gateway has acknowledged yet. ``arrays`` says that it reads frames of several messages.
    """

    name: str
    version: str
    models: list[ModelSpec]
    slots: int
    labels: dict[str, str] = {}
    session: str | None = None
    running: list[Progress] = []
    done: list[Result | Error] = []
    protocol: int = PROTOCOL_VERSION
    arrays: bool = False


class Heartbeat(Message, frozen=True, tag="heartbeat"):
    """Sign of life. ``progress`` lists tasks that showed one of their own since the last heartbeat.

    ``load`` is the 1-minute load average, ``memory`` the resident bytes of the node.
    """

    load: float = 0.0
    memory: int = 0
    progress: list[Progress] = []


class Refuse(Message, frozen=True, tag="refuse"):
    """The node cannot run an assigned task now (it drains, or has no such model); nothing is charged.

    ``leaving`` says that it takes no further tasks at all.
    """

    task: str
    attempt: int
    reason: str = ""
    leaving: bool = False


class Drained(Message, frozen=True, tag="drained"):
    """The node has finished or handed back everything and is about to leave."""


# --- gateway -> node ---------------------------------------------------------------------------


class Welcome(Message, frozen=True, tag="welcome"):
    """The node is registered. Its session is lost if it goes ``lease_s`` without a heartbeat.

    ``arrays`` says that the gateway reads frames of several messages.
    """

    node_id: str
    session: str
    lease_s: float
    heartbeat_s: float
    arrays: bool = False


class Assign(Message, frozen=True, tag="assign"):
    """Run this. ``timeout_s`` bounds the run itself; ``input`` and ``parameters`` are raw JSON."""

    task: str
    attempt: int
    model: str
    input: msgspec.Raw
    parameters: msgspec.Raw
    timeout_s: float | None = None


class Committed(Message, frozen=True, tag="committed"):
    """The result is durable; the node may forget it."""

    task: str
    attempt: int


class Refused(Message, frozen=True, tag="refused"):
    """The result came too late (the attempt is over); the node forgets it."""

    task: str
    attempt: int


class Resend(Message, frozen=True, tag="resend"):
    """Send the attempt's events again, beginning with sequence number ``from_seq``."""

    task: str
    attempt: int
    from_seq: int = msgspec.field(name="from", default=FIRST_NODE_SEQ)


class Cancel(Message, frozen=True, tag="cancel"):
    """The task was cancelled: stop it, send nothing more about it."""

    task: str
    attempt: int


class Release(Message, frozen=True, tag="release"):
    """The attempt is no longer this node's: stop it, send nothing more about it."""

    task: str
    attempt: int


class Drain(Message, frozen=True, tag="drain"):
    """Take nothing new; finish what runs within ``deadline_s``, then hand back the rest and leave."""

    deadline_s: float = 30.0


TaskEvent = Chunk | TaskProgress | Metric | Log
FromNode = (
    Hello | Heartbeat | Chunk | TaskProgress | Metric | Log | Snapshot | Result | Error | Refuse | Drained
)
ToNode = Welcome | Assign | Committed | Refused | Resend | Cancel | Release | Drain
