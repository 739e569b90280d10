"""The one script that appends events to a stream and publishes them, and the calls that carry it (R21).

Redis runs it atomically, so what is published is also in the stream for those who subscribe and then read. It
decides as ``stream.judge`` does. Stream ids are event ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from neurogrid.core.settings import LiveSettings
from neurogrid.events.stream import NODE_EVENTS, RUNNING_TTL, Outcome
from neurogrid.protocol.events import Event, EventType
from neurogrid.protocol.messages import FIRST_NODE_SEQ

# KEYS: stream. ARGV: channel, origin, length, ttl while running (ms), ttl after the end (ms), first node seq, then
# for each event its attempt, seq, kind (n node event, p snapshot, s state, f final state) and envelope.
# Answers one outcome for each event.
APPEND = """
local key, channel, origin = KEYS[1], ARGV[1], ARGV[2]
local first = tonumber(ARGV[6])
local top_attempt, top_seq, ttl
local top = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
if top then
  local attempt, seq = string.match(top[1], '^(%d+)-(%d+)$')
  top_attempt, top_seq = tonumber(attempt), tonumber(seq)
end

local function judge(attempt, seq, kind)
  if not top_attempt then
    if kind == 'p' then return 'ok', true, true, true end
    if kind ~= 'n' then return 'ok', false, false, true end
    if seq == first then return 'ok', true, false, true end
    return 'gap'
  end
  if attempt < top_attempt then return 'stale' end
  if attempt == top_attempt and seq <= top_seq then return 'dup', false, false, kind == 'p' end
  if kind == 'p' then return 'ok', true, true, true end
  if kind ~= 'n' or seq == first or (attempt == top_attempt and seq == top_seq + 1) then
    return 'ok', true, false, true
  end
  return 'gap'
end

local answers = {}
for i = 7, #ARGV, 4 do
  local attempt, seq, kind, envelope = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3]
  local outcome, append, reset, publish = judge(attempt, seq, kind)
  if reset then redis.call('DEL', key) end
  if append then
    redis.call('XADD', key, 'MAXLEN', '=', ARGV[3], ARGV[i] .. '-' .. ARGV[i + 1], 'e', envelope)
    top_attempt, top_seq = attempt, seq
    ttl = kind == 'f' and ARGV[5] or ARGV[4]
  end
  if publish then redis.call('PUBLISH', channel, origin .. envelope) end
  answers[#answers + 1] = outcome
end
if ttl then redis.call('PEXPIRE', key, ttl) end
return answers
"""
_DIGEST = hashlib.sha1(APPEND.encode(), usedforsecurity=False).hexdigest()


_LONE_BYTES = 4096
"""What is larger concerns too few gateways to be sent to all of them."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


def is_lone(event: Event) -> bool:
    """Tell whether no stream of the task needs the event: its first attempt began, or ended without having spoken.

    Most tasks have no other events. All of them go to all gateways in one message, which costs a hundredth of
    what a call of the script for each does; their rows are there for whoever reads later.
    """
    return (
        event.id.attempt == 1
        and event.id.seq <= FIRST_NODE_SEQ
        and event.type not in NODE_EVENTS
        and event.type is not EventType.SNAPSHOT
        and len(event.raw) <= _LONE_BYTES
    )


def together(payload: bytes) -> list[tuple[str, bytes]]:
    """Return the tasks and envelopes of one message of lone events. Raises ``ValueError`` when it is none."""
    try:
        return _decode(payload)
    except msgspec.MsgspecError as error:
        msg = f"no events: {error}"
        raise ValueError(msg) from error


def kind(event: Event) -> str:
    """Return the script's letter for the event."""
    if event.type in NODE_EVENTS:
        return "n"
    if event.type is EventType.SNAPSHOT:
        return "p"
    return "f" if event.final else "s"


class Names:
    """Keys and channels under one prefix. The braces keep all of a task on one node of a cluster."""

    def __init__(self, prefix: str) -> None:
        self._events = f"{prefix}events:{{"
        self._topic = f"{prefix}topic:"
        self._stream = f"{prefix}stream:{{"
        self.lone = f"{prefix}states"
        """The channel of lone events."""

    def stream(self, task: str) -> str:
        """Return the key of a task's stream."""
        return f"{self._stream}{task}}}"

    def events(self, task: str) -> str:
        """Return the channel of a task's events."""
        return f"{self._events}{task}}}"

    def topic(self, topic: str) -> str:
        """Return the channel of a topic."""
        return f"{self._topic}{topic}"

    def task_of(self, channel: str) -> str | None:
        """Return the task whose events the channel carries, if it is such a channel."""
        return channel[len(self._events) : -1] if channel.startswith(self._events) else None

    def topic_of(self, channel: str) -> str:
        """Return the topic the channel carries."""
        return channel[len(self._topic) :]


class Appender:
    """Sends events and messages to Redis, as many as there are in one round trip. Raises ``RedisError``."""

    def __init__(self, client: Redis, live: LiveSettings, names: Names, origin: bytes) -> None:
        self._client = client
        self._names = names
        self._origin = origin
        self._bounds = (
            live.stream_length,
            round(RUNNING_TTL * 1000),
            round(live.stream_linger * 1000),
            FIRST_NODE_SEQ,
        )

    async def send(
        self,
        events: Iterable[Event],
        messages: Sequence[tuple[str, bytes]] = (),
        lone: Sequence[Event] = (),
    ) -> list[tuple[Event, Outcome]]:
        """Append and publish ``events``, publish ``(topic, payload)`` messages and, before all, ``lone`` events.

        Returns what became of ``events``.
        """
        by_task: dict[str, list[Event]] = {}
        for event in events:
            by_task.setdefault(event.task, []).append(event)
        answers = await self._execute(by_task, messages, lone)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # Without the script nothing of the tasks was done, so doing it again repeats nothing.
            await self._client.script_load(APPEND)
            answers = await self._execute(by_task)
        for answer in answers:
            if isinstance(answer, RedisError):
                raise answer
        return [
            (event, Outcome(outcome.decode()))
            for task_events, outcomes in zip(by_task.values(), answers, strict=False)
            for event, outcome in zip(task_events, outcomes, strict=True)
        ]

    async def _execute(
        self,
        by_task: dict[str, list[Event]],
        messages: Sequence[tuple[str, bytes]] = (),
        lone: Sequence[Event] = (),
    ) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        if lone:  # first, since what a node says of a task comes after its beginning
            pipeline.publish(
                self._names.lone, self._origin + _encode([(event.task, event.raw) for event in lone])
            )
        for task, events in by_task.items():
            arguments: list[str | int | bytes] = []
            for event in events:
                arguments += (event.id.attempt, event.id.seq, kind(event), event.raw)
            pipeline.evalsha(
                _DIGEST,
                1,
                self._names.stream(task),
                self._names.events(task),
                self._origin,
                *self._bounds,
                *arguments,
            )
        for topic, payload in messages:
            pipeline.publish(self._names.topic(topic), self._origin + payload)
        answers = await pipeline.execute(raise_on_error=False)
        if lone and isinstance(published := answers.pop(0), RedisError):
            raise published
        return answers
