"""The document of the API and its pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from neurogrid.app import create_app
from tests.support.gateway import RunningGateway, Start, settings_for
from tests.support.routes import OPEN

METHODS = {"get", "post", "put", "patch", "delete"}


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    document = create_app(settings_for("sqlite+aiosqlite:///nowhere.db")).openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in METHODS:
                yield f"{method.upper()} {path}", operation


@pytest.mark.parametrize(("name", "operation"), list(operations()), ids=lambda value: str(value)[:40])
def test_every_operation_is_explained(name: str, operation: dict[str, Any]) -> None:
    """Each operation says what it does, under a tag; with a key it says how it refuses one."""
    assert operation.get("summary")
    assert operation.get("description"), name
    assert operation.get("tags"), name
    if name.split()[1] in OPEN:
        return
    assert operation.get("security"), name
    for status in ("401", "403"):
        assert "application/problem+json" in operation["responses"][status]["content"], (name, status)
    for parameter in operation.get("parameters", ()):
        assert parameter.get("description") or parameter["name"] in {"name", "id", "task_id"}, (
            name,
            parameter,
        )


def test_ids_that_may_be_foreign_document_404() -> None:
    """An operation on one thing documents that it may not be there."""
    for name, operation in operations():
        if "{" in name:
            assert "404" in operation["responses"], name


def test_submit_has_examples_that_are_valid() -> None:
    """The examples of a submission are there to be tried, so they validate."""
    from neurogrid.tasks.schemas import TaskSubmit

    [submit] = [operation for name, operation in operations() if name == "POST /v1/tasks"]
    examples = submit["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) >= 3
    for example in examples.values():
        TaskSubmit.model_validate(example["value"])


@pytest.mark.asyncio
async def test_pages_refer_to_no_foreign_host(sqlite_grid: RunningGateway) -> None:
    """Swagger UI and ReDoc load nothing from elsewhere, and what they load is there."""
    client = await sqlite_grid.client()
    for path in ("/docs", "/redoc"):
        page = await client.get(path)
        assert page.status_code == 200
        sources = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
        assert sources
        for source in sources:
            assert source.startswith("/"), source
            assert not source.startswith("//"), source
            assert (await client.get(source)).status_code == 200, source


@pytest.mark.asyncio
async def test_documents_can_be_turned_off(start: Start) -> None:
    """Who wants no documentation on the net serves none."""
    grid = await start(enable_api_docs=False, nodes=False)
    client = await grid.client()
    for path in ("/docs", "/redoc", "/openapi.json", "/docs/assets/swagger-ui.css"):
        assert (await client.get(path)).status_code == 404, path
