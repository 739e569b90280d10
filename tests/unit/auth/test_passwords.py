"""Hashing off the event loop: few at once, few in the queue, and the same work for nobody as for somebody."""

from __future__ import annotations

import asyncio
import threading

import pytest

from neurogrid.auth import passwords
from neurogrid.auth.passwords import Passwords
from neurogrid.core.errors import Invalid, Unavailable
from tests.support.until import until

pytestmark = pytest.mark.asyncio


class Slow:
    """Takes until told for a hash, and counts how many are under way."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def hash(self, password: str) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.go.wait(30)
        with self._lock:
            self.running -= 1
        return f"hash of {password}"

    def verify(self, password: str, known: str) -> bool:
        return self.hash(password) == known


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(passwords, "_argon2", lambda: slow)
    return slow


async def test_few_at_once_and_few_in_the_queue(slow: Slow) -> None:
    """Two are hashed, three wait, the sixth is turned away; the loop goes on meanwhile; then there is room again."""
    work = Passwords(concurrency=2, queue=3)
    hashes = [asyncio.create_task(work.hash(f"p{n}")) for n in range(5)]
    await until(lambda: slow.running == 2, what="two are hashed")
    for attempt in (work.hash("one more"), work.verify("one more", None)):
        with pytest.raises(Unavailable) as full:
            await attempt
        assert full.value.headers["Retry-After"]
    slow.go.set()
    assert await asyncio.gather(*hashes) == [f"hash of p{n}" for n in range(5)]
    assert slow.most == 2
    assert await work.hash("again") == "hash of again"


async def test_who_gives_up_makes_room(slow: Slow) -> None:
    """A waiting request that is cut off leaves the queue."""
    work = Passwords(concurrency=1, queue=1)
    first = asyncio.create_task(work.hash("first"))
    second = asyncio.create_task(work.hash("second"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({second})
    third = asyncio.create_task(work.hash("third"))
    slow.go.set()
    assert list(await asyncio.gather(first, third)) == ["hash of first", "hash of third"]


async def test_real_hashes() -> None:
    """Argon2id, salted; typed in another form of the same characters it is the same password; no hash, no match."""
    work = Passwords()
    hashed = await work.hash("pässword of ada")
    assert hashed.startswith("$argon2id$")
    assert await work.verify("pässword of ada", hashed)
    assert not await work.verify("password of ada", hashed)
    assert not await work.verify("the password of nobody", None), "nor is there a password for nobody"
    assert not await work.verify("x", "no hash at all")


@pytest.mark.parametrize(
    "password",
    ["", "x" * 11, "abab" * 4, "ADA@example.org", "ada@example.org123", "x1y2z3" * 50],
)
async def test_passwords_that_anybody_would_try(password: str) -> None:
    """Short ones, long ones, a few characters over and over, and the address itself are refused."""
    with pytest.raises(Invalid):
        passwords.check(password, "ada@example.org")


async def test_passwords_that_will_do() -> None:
    """Words are fine, without digits or signs."""
    passwords.check("correct horse battery", "ada@example.org")
