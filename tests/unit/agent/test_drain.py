"""A node that is to leave finishes what it can, hands back the rest, and says so."""

from __future__ import annotations

import asyncio

import pytest

from neurogrid.agent import agent as agent_module
from neurogrid.protocol.messages import (
    Committed,
    Drain,
    Drained,
    Refuse,
    Result,
)
from tests.support.node import Gateway, Puppet, serving
from tests.support.until import until

pytestmark = pytest.mark.asyncio


async def test_drain_lets_tasks_finish() -> None:
    """New tasks are refused, running ones end and are confirmed, then the node says goodbye and leaves."""
    gateway, puppet = Gateway(), Puppet()
    async with serving(gateway, [puppet]) as agent:
        await gateway.greet()
        await gateway.assign("t")
        await until(lambda: puppet.running)
        await gateway.say(Drain(deadline_s=60))
        await gateway.assign("u")
        assert await gateway.expect(Refuse) == Refuse("u", 1, "draining", leaving=True)
        puppet.go.set()
        await gateway.expect(Result)
        await gateway.say(Committed("t", 1))
        await gateway.expect(Drained)
        assert (await gateway.gone()).code == 1000
        await agent.drain(0)


async def test_drain_hands_back_what_does_not_finish() -> None:
    """At the deadline the rest is stopped and handed back before the node leaves."""
    gateway, puppet = Gateway(), Puppet()
    async with serving(gateway, [puppet]) as agent:
        await gateway.greet()
        await gateway.assign("t")
        await until(lambda: puppet.running)
        draining = asyncio.create_task(agent.drain(0))
        assert await gateway.expect(Refuse) == Refuse("t", 1, "drained", leaving=True)
        await gateway.expect(Drained)
        await draining
    assert puppet.cancelled == 1


async def test_a_node_that_is_cut_off_while_it_drains_comes_back_to_say_so() -> None:
    """R1: after its goodbye the gateway hands back whatever it believes to run there, uncharged."""
    gateway, puppet = Gateway(), Puppet()
    async with serving(gateway, [puppet]) as agent:
        await gateway.greet()
        await gateway.assign("t")
        await until(lambda: puppet.running)
        await gateway.hang_up()
        await until(lambda: not agent.connected.is_set())
        draining = asyncio.create_task(agent.drain(0))
        await until(lambda: puppet.cancelled)
        assert (await gateway.greet()).session == "s1"
        await gateway.expect(Drained)
        await draining


async def test_drain_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that confirms nothing, or is not there, cannot keep a node from leaving."""
    monkeypatch.setattr(agent_module, "_CONFIRM_WITHIN", 0.05)
    gateway, puppet = Gateway(), Puppet()
    puppet.go.set()
    async with serving(gateway, [puppet]) as agent:
        await gateway.greet()
        await gateway.assign("t")
        await gateway.expect(Result)
        await agent.drain(1)
