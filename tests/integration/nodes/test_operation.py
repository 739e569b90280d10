"""Nodes as operators run them: over HTTP, from the command line, and as the nodes themselves feel it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from neurogrid.agent.agent import Agent
from neurogrid.agent.connect import Backoff, NodeRefused, web_socket
from neurogrid.auth.policy import Role
from neurogrid.cli.main import app
from neurogrid.client import ApiError, AsyncClient
from neurogrid.nodes.schemas import NodeView, TokenList
from tests.support.gateway import Account, RunningGateway
from tests.support.node import Puppet
from tests.support.until import PATIENCE, until

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def joined(
    grid: RunningGateway, token: str, name: str, *models: Puppet
) -> AsyncIterator[tuple[Agent, asyncio.Task[None]]]:
    """Run a node as long as the block, and yield it with its end."""
    agent = Agent(
        name, "1", models, slots=8, connect=web_socket(grid.url, token), backoff=Backoff(0.01, 0.05)
    )
    run = asyncio.create_task(agent.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await agent.connected.wait()
        yield agent, run
    finally:
        run.cancel()
        await asyncio.wait({run})


async def make_token(operator: Account, **wanted: Any) -> dict[str, Any]:
    answer = await operator.http.post("/v1/nodes/tokens", json=wanted)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def node_of(operator: Account, name: str) -> NodeView:
    found = (await operator.http.get("/v1/nodes")).json()["data"]
    (node,) = [each for each in found if each["name"] == name]
    shown = (await operator.http.get(f"/v1/nodes/{node['id']}")).json()
    assert shown["name"] == name
    return NodeView.model_validate(shown)


async def has_ended(run: asyncio.Task[None]) -> None:
    async with asyncio.timeout(PATIENCE):
        await run


async def test_a_node_is_cordoned_drained_and_taken_back(grid: RunningGateway) -> None:
    """Each order answers with the node as it is then; a drained node ends and is cordoned, till it is taken back."""
    operator = await grid.account(Role.OPERATOR)
    token, model = (await make_token(operator))["token"], Puppet("other")
    model.go.set()
    async with joined(grid, token, "lab-1", model) as (_, run):
        path = f"/v1/nodes/{(await node_of(operator, 'lab-1')).id}"
        assert (await operator.http.post(f"{path}/cordon")).json()["state"] == "cordoned"
        assert (await operator.http.post(f"{path}/uncordon")).json()["state"] == "active"
        await operator.reaches(await operator.submit("other"), "completed")
        drained = NodeView.model_validate((await operator.http.post(f"{path}/drain")).json())
        assert drained.drain_until is not None
        assert timedelta(0) < drained.drain_until - datetime.now(UTC) <= timedelta(seconds=30)
        await has_ended(run)

    async def left() -> bool:
        node = await node_of(operator, "lab-1")
        return (node.state, node.connected) == ("cordoned", False)

    await until(left)
    async with joined(grid, token, "lab-1", model):
        task = await operator.submit("other")
        assert (await operator.task(task))["status"] == "queued"
        assert (await operator.http.post(f"{path}/uncordon", json={})).json()["state"] == "active"
        await operator.reaches(task, "completed")


async def test_what_a_leaving_node_does_not_finish_runs_elsewhere(grid: RunningGateway) -> None:
    """SIGTERM's way: at the end of its grace a node hands back, the next one finishes, nothing is charged."""
    operator = await grid.account(Role.OPERATOR)
    token = (await make_token(operator))["token"]
    here, there = Puppet("other"), Puppet("other")
    there.go.set()
    async with joined(grid, token, "lab-1", here) as (agent, run):
        tasks = [await operator.submit("other", n) for n in range(4)]
        await until(lambda: here.running == len(tasks))
        await agent.drain(0)
        await has_ended(run)
    async with joined(grid, token, "lab-2", there):
        for task in tasks:
            done = await operator.reaches(task, "completed")
            assert (done["attempt"], done["errors"], done["node"]) == (2, 0, "lab-2")
            log = (await operator.http.get(f"/v1/tasks/{task}/log")).json()["data"]
            reasons = [event["data"]["reason"] for event in log if event["type"] == "task.retrying"]
            assert reasons == ["drained"]


async def test_a_removed_node_ends_and_may_be_started_anew(grid: RunningGateway) -> None:
    """The process hears that it was removed and tries no more; started again, it joins as another node."""
    operator = await grid.account(Role.OPERATOR)
    token, model = (await make_token(operator))["token"], Puppet("other")
    async with joined(grid, token, "lab-1", model) as (_, run):
        id = (await node_of(operator, "lab-1")).id
        task = await operator.submit("other")
        await until(lambda: model.running)
        assert (await operator.http.delete(f"/v1/nodes/{id}")).status_code == httpx.codes.NO_CONTENT
        with pytest.raises(NodeRefused, match="removed"):
            await has_ended(run)
    assert (await operator.http.delete(f"/v1/nodes/{id}")).status_code == httpx.codes.NOT_FOUND
    assert (await operator.http.get("/v1/models/other")).status_code == httpx.codes.NOT_FOUND
    model.go.set()
    async with joined(grid, token, "lab-1", model):
        assert (await operator.reaches(task, "completed"))["errors"] == 0
        assert (await node_of(operator, "lab-1")).id != id


async def test_a_revoked_token_ends_its_nodes(grid: RunningGateway) -> None:
    """A node whose token is revoked is disconnected, and its process knows why; the token lets nobody in again."""
    operator = await grid.account(Role.OPERATOR)
    token = await make_token(operator)
    async with joined(grid, token["token"], "lab-1", Puppet("other")) as (_, run):
        for _ in range(2):
            gone = await operator.http.delete(f"/v1/nodes/tokens/{token['id']}")
            assert gone.status_code == httpx.codes.NO_CONTENT
        with pytest.raises(NodeRefused, match="revoked"):
            await has_ended(run)
    again = Agent("lab-1", "1", [Puppet("other")], slots=1, connect=web_socket(grid.url, token["token"]))
    with pytest.raises(NodeRefused, match="revoked or expired"):
        await again.run()


async def test_a_token_out_of_scope_is_refused_with_the_reason(sqlite_grid: RunningGateway) -> None:
    """A node that its token does not allow ends with a message that says what is wrong."""
    operator = await sqlite_grid.account(Role.OPERATOR)
    for scope, reason in (({"node": "lab-é" * 40}, "name lab-é"), ({"models": ["m"]}, "model other")):
        token = (await make_token(operator, **scope))["token"]
        agent = Agent("lab-1", "1", [Puppet("other")], slots=1, connect=web_socket(sqlite_grid.url, token))
        with pytest.raises(NodeRefused, match=reason):
            await agent.run()


async def test_tokens_are_listed_without_their_secret(grid: RunningGateway) -> None:
    """A list of tokens says what each is for, when it ends and was last used, and holds no secret."""
    operator = await grid.account(Role.OPERATOR)
    plain = await make_token(operator, name="plain")
    end = datetime.now(UTC) + timedelta(days=1)
    scoped = await make_token(
        operator, name="scoped", node="lab-1", models=["b", "a", "b"], expires_at=end.isoformat()
    )
    brief = await make_token(operator, name="brief", expires_in_s=60)
    async with joined(grid, plain["token"], "lab-1", Puppet("other")):
        pass
    await operator.http.delete(f"/v1/nodes/tokens/{brief['id']}")
    text = (await operator.http.get("/v1/nodes/tokens")).text
    assert not [made for made in (plain, scoped, brief) if made["token"] in text]
    listed = TokenList.model_validate_json(text).data
    assert [each.name for each in listed] == ["brief", "scoped", "plain"]
    assert [each.last_used_at is not None for each in listed] == [False, False, True]
    assert [each.revoked_at is not None for each in listed] == [True, False, False]
    assert (listed[1].node, listed[1].models, listed[1].expires_at) == ("lab-1", ["a", "b"], end)
    assert all(
        made["token"].startswith(each.prefix)
        for made, each in zip((brief, scoped, plain), listed, strict=True)
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"expires_in_s": 1e12}, "expires_in_s"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2090-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "2090-01-01T00:00:00Z", "expires_in_s": 5}, "body"),
        ({"node": ""}, "node"),
        ({"models": []}, "models"),
        ({"models": [""]}, "models[0]"),
    ],
)
async def test_tokens_that_make_no_sense(
    sqlite_grid: RunningGateway, body: dict[str, Any], field: str
) -> None:
    """What a token cannot be is refused by the name of the field."""
    operator = await sqlite_grid.account(Role.OPERATOR)
    answer = await operator.http.post("/v1/nodes/tokens", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize("id", ["0190b0f0-0000-7000-8000-000000000000", "x", "0" * 36])
async def test_there_is_no_such_node(grid: RunningGateway, id: str) -> None:
    """Every order about what does not exist answers 404, however odd its id."""
    operator = await grid.account(Role.OPERATOR)
    answers = [
        await operator.http.get(f"/v1/nodes/{id}"),
        *[await operator.http.post(f"/v1/nodes/{id}/{order}") for order in ("cordon", "uncordon", "drain")],
        await operator.http.delete(f"/v1/nodes/{id}"),
        await operator.http.delete(f"/v1/nodes/tokens/{id}"),
    ]
    assert {answer.status_code for answer in answers} == {httpx.codes.NOT_FOUND}


@pytest.mark.parametrize("deadline", [-1, 1e9, "soon", None])
async def test_deadlines_are_bounded(sqlite_grid: RunningGateway, deadline: Any) -> None:
    """A drain takes a day at most."""
    operator = await sqlite_grid.account(Role.OPERATOR)
    id = (await node_of(operator, "node")).id
    answer = await operator.http.post(f"/v1/nodes/{id}/drain", json={"deadline_s": deadline})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "deadline_s")
    assert (await node_of(operator, "node")).state == "active"


async def test_the_client_gives_orders(sqlite_grid: RunningGateway) -> None:
    """The typed client has a method for each order."""
    operator = await sqlite_grid.account(Role.OPERATOR)
    async with AsyncClient(sqlite_grid.url, operator.key) as client:
        made = await client.create_node_token("lab", expires_in=60, node="lab-1", models=["other"])
        assert made.token is not None
        assert made.token not in repr(made)
        (listed,) = await client.node_tokens()
        assert (listed.id, listed.models, listed.token) == (made.id, ("other",), None)
        async with joined(sqlite_grid, made.token, "lab-1", Puppet("other")) as (_, run):
            (node,) = [each for each in await client.nodes() if each.name == "lab-1"]
            assert (await client.cordon_node(node.id)).state == "cordoned"
            assert (await client.uncordon_node(node.id)).state == "active"
            assert (await client.drain_node(node.id, 5)).state == "draining"
            await has_ended(run)
        assert (await client.node(node.id)).name == "lab-1"
        await client.remove_node(node.id)
        await client.revoke_node_token(made.id)
        with pytest.raises(ApiError) as missing:
            await client.node(node.id)
        assert missing.value.status == 404


async def test_the_command_line_gives_orders(sqlite_grid: RunningGateway) -> None:
    """Operators name nodes by name; what they are told is a word, and a wrong name is no traceback.

    The log of the gateway, which runs in this process, is in the output as well.
    """
    operator = await sqlite_grid.account(Role.OPERATOR)
    made = await make_token(operator, name="lab")

    async def run(*arguments: str) -> Result:
        options = ("--url", sqlite_grid.url, "--api-key", operator.key)
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, ["nodes", *arguments, *options]))

    async with joined(sqlite_grid, made["token"], "lab-1", Puppet("other")) as (_, process):
        assert "cordoned" in (await run("cordon", "lab-1")).stdout.splitlines()
        assert "active" in (await run("uncordon", "lab-1")).stdout.splitlines()
        assert "draining" in (await run("drain", "lab-1", "--deadline", "1m")).stdout.splitlines()
        await has_ended(process)
    assert made["prefix"] in (await run("tokens")).stdout
    assert (await run("revoke", made["id"])).exit_code == 0
    assert "revoked" in (await run("tokens")).stdout
    assert (await run("remove", "lab-1")).exit_code == 0
    missing = await run("cordon", "lab-1")
    assert (missing.exit_code, "there is no node 'lab-1'" in missing.stderr) == (2, True)
    wrong = await run("drain", "node", "--deadline", "soon")
    assert (wrong.exit_code, "--deadline takes a time" in wrong.stderr) == (2, True)
