"""Nodes and models as people see them."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect

from neurogrid.agent.agent import Agent
from neurogrid.agent.connect import NodeRefused, web_socket
from neurogrid.auth import tokens
from neurogrid.auth.policy import Role
from neurogrid.nodes.schemas import ModelList, NodeList
from tests.support.gateway import Account, Parrot, RunningGateway, node
from tests.support.node import Puppet
from tests.support.until import PATIENCE, until

pytestmark = pytest.mark.asyncio


async def test_models_state_what_they_take(grid: RunningGateway, ada: Account) -> None:
    """The catalogue has each model with its schemas and an example of its input that its own schema admits."""
    del grid
    models = ModelList.model_validate((await ada.http.get("/v1/models")).json()).data
    assert [model.id for model in models] == sorted(model.id for model in models)
    assert [model.id for model in models if model.default] == ["smollm2-135m"]
    assert all(model.available and model.nodes == ["node"] for model in models)
    for model in models:
        assert (await ada.http.get(f"/v1/models/{model.id}")).json()["id"] == model.id
        if model.example_input is not None:
            await ada.submit(model.id, model.example_input)
    missing = await ada.http.get("/v1/models/gpt-9")
    assert (missing.status_code, "debug.echo" in missing.json()["detail"]) == (404, True)


async def test_a_node_joins_by_its_token(grid: RunningGateway) -> None:
    """A node that connects from outside with a token is listed, serves, and stays listed when it has gone."""
    operator = await grid.account(Role.OPERATOR)
    made = await operator.http.post("/v1/nodes/tokens", json={"name": "lab"})
    assert made.status_code == 201
    other = Puppet("other")
    other.go.set()
    async with node(web_socket(grid.url, made.json()["token"]), [other], "lab-1"):
        shown = {
            each.name: each
            for each in NodeList.model_validate((await operator.http.get("/v1/nodes")).json()).data
        }
        assert set(shown) == {"node", "lab-1"}
        assert (shown["lab-1"].connected, shown["lab-1"].models) == (True, ["other"])
        task = await operator.submit("other", {"a": 1})
        assert (await operator.reaches(task, "completed"))["node"] == "lab-1"
    waiting = await operator.submit("other")
    shown = {
        each.name: each
        for each in NodeList.model_validate((await operator.http.get("/v1/nodes")).json()).data
    }
    assert "lab-1" in shown
    assert (await operator.task(waiting))["status"] == "queued"
    async with node(web_socket(grid.url, made.json()["token"]), [other], "lab-1"):
        assert (await operator.reaches(waiting, "completed"))["attempt"] == 1


async def test_a_new_model_is_known_at_once(grid: RunningGateway, ada: Account) -> None:
    """A model that a node has just brought is not refused because the catalogue is a moment old."""
    operator = await grid.account(Role.OPERATOR)
    token = (await operator.http.post("/v1/nodes/tokens", json={})).json()["token"]
    assert (await ada.http.post("/v1/tasks", json={"model": "fresh", "input": 1})).status_code == 422
    fresh = Puppet("fresh")
    fresh.go.set()
    async with node(web_socket(grid.url, token), [fresh], "fresh-1"):
        await ada.reaches(await ada.submit("fresh"), "completed")


@pytest.mark.parametrize("token", ["", "x", "ngn_x", "api key"])
async def test_other_credentials_do_not_join(grid: RunningGateway, ada: Account, token: str) -> None:
    """Without a node token nobody is let in as a node: not even with a user's key."""
    token = ada.key if token == "api key" else token
    agent = Agent("evil", "1", [Parrot()], slots=1, connect=web_socket(grid.url, token))
    with pytest.raises(NodeRefused):
        await agent.run()


async def test_a_node_token_is_no_key(grid: RunningGateway) -> None:
    """A node holds no credential for the API (design law 4), and the token is shown this once."""
    operator = await grid.account(Role.OPERATOR)
    made = (await operator.http.post("/v1/nodes/tokens", json={"name": "n"})).json()
    assert tokens.well_formed(made["token"], tokens.NODE_TOKEN)
    assert (await (await grid.client(made["token"])).get("/v1/tasks")).status_code == 401
    assert made["token"] not in (await operator.http.get("/v1/nodes")).text


async def test_tokens_are_for_operators(grid: RunningGateway, ada: Account) -> None:
    """Users make no tokens; fields that do not exist are named rather than ignored."""
    assert (await ada.http.post("/v1/nodes/tokens", json={"name": "n"})).status_code == 403
    operator = await grid.account(Role.OPERATOR)
    for body, field in (({"name": ""}, "name"), ({"name": "x" * 201}, "name"), ({"hash": "x"}, "hash")):
        answer = await operator.http.post("/v1/nodes/tokens", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{}",
        "x" * 100,
        "x" * 2_000_000,
        '{"type":"result"}',
        '{"type":"hello","name":1}',
        b"\xff\xfe",
        "[" * 5000,
    ],
)
async def test_nonsense_from_a_node_ends_its_connection(
    sqlite_grid: RunningGateway, frame: str | bytes
) -> None:
    """Who does not speak the protocol is shown the door, and the gateway goes on.

    It is read before it is judged (not 1009), since a node's hello may be long.
    """
    operator = await sqlite_grid.account(Role.OPERATOR)
    token = (await operator.http.post("/v1/nodes/tokens", json={})).json()["token"]
    url = sqlite_grid.url.replace("http", "ws") + "/v1/nodes/connect"
    async with connect(url, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None) as socket:
        await socket.send(frame)
        async with asyncio.timeout(PATIENCE):
            await socket.wait_closed()
        assert socket.close_code in {1002, 1003, 1007, *range(4400, 4500)}
    await operator.reaches(await operator.submit("debug.echo"), "completed")


async def test_running_tasks_are_counted(grid: RunningGateway) -> None:
    """The list of nodes says how many tasks each runs now."""
    operator = await grid.account(Role.OPERATOR)
    for _ in range(2):
        await operator.reaches(await operator.submit("puppet"), "running")

    async def load() -> int:
        nodes = NodeList.model_validate((await operator.http.get("/v1/nodes")).json()).data
        return nodes[0].running

    assert await load() == 2
    grid.puppet.go.set()

    async def idle() -> bool:
        return await load() == 0

    await until(idle)
