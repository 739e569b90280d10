"""The Python client of a NeuroGrid gateway, synchronous and asynchronous (OPS-6).

::

    with Client("http://127.0.0.1:8000", api_key="ng_…") as grid:
        task = grid.submit("Name three uses of a paper clip.")
        for event in grid.stream(task.id):
            print(event.data.get("text", ""), end="")
        print(grid.get(task.id).usage)

``AsyncClient`` has the same methods, to be awaited or iterated with ``async for``.
"""

from neurogrid.client.asynchronous import AsyncClient
from neurogrid.client.errors import (
    ApiError,
    ClientError,
    ConnectionFailed,
    FieldProblem,
    WaitTimeout,
)
from neurogrid.client.following import TextFold
from neurogrid.client.synchronous import Client
from neurogrid.client.types import (
    Model,
    Node,
    NodeToken,
    RefusedReplay,
    Replay,
    Task,
    TaskEvent,
    TaskFailure,
    Usage,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "FieldProblem",
    "Model",
    "Node",
    "NodeToken",
    "RefusedReplay",
    "Replay",
    "Task",
    "TaskEvent",
    "TaskFailure",
    "TextFold",
    "Usage",
    "WaitTimeout",
]
