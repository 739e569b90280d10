"""The gateway keeps to its document, whatever it is sent: Schemathesis makes up the requests.

Each operation is sent all cases of its parameters and body that the document suggests, right and wrong, methods it
does not take, and a few requests at random, always the same. Nothing may be answered by 5xx, by a status, media type,
header or body that the document does not have, or with success where the document says that it is wrong.
No operation is left out. What fits the document may still be refused (``positive_data_acceptance`` is
off): tokens, cursors and names that are made up mean nothing. That credentials are asked for (``ignored_auth``, which
sends each request three times) is the business of the walk over all routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation.drivers import CoverageGenerator
from schemathesis.generation.feedback import NO_FEEDBACK
from schemathesis.generation.modes import GenerationMode
from schemathesis.generation.overrides import Override

from neurogrid.auth import accounts, passwords
from tests.support.door import SECRET
from tests.support.fuzzing import Fuzzed, fuzzed

pytestmark = pytest.mark.timeout(300)

AT_RANDOM: Final = 4
"""Requests for each operation, besides the cases that are not left to chance."""
REFUSALS: Final = [400, 401, 403, 404, 405, 409, 413, 415, 422, 429]
CONFIG: Final[dict[str, Any]] = {
    "generation": {"with-security-parameters": False},  # ours have to arrive
    "checks": {
        "positive_data_acceptance": {"enabled": False},
        "ignored_auth": {"enabled": False},
        "negative_data_rejection": {"expected-statuses": REFUSALS},
    },
    "phases": {"coverage": {"unexpected-methods": ["options", "put"]}},  # all are refused in one place
    "request-timeout": 30,
}
REST: Final = "rest"
GROUPS: Final = ("auth/", "tasks", REST)
"""Parts of the work that may be done at the same time."""


@pytest.fixture
def gateway(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fuzzed]:
    """A gateway that hashes passwords quickly and lets nobody wait long for a task, or for an answer that takes a step."""
    monkeypatch.setattr(accounts, "evenly", partial(accounts.evenly, 0.01))
    quick = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    monkeypatch.setattr(passwords, "_argon2", lambda: quick)
    passwords._nobodys.cache_clear()
    options = {"secret_key": SECRET, "mail": {"outbox": tmp_path / "outbox"}, "tasks": {"max_wait": 1.0}}
    with fuzzed(sqlite_url, **options) as found:
        yield found
    passwords._nobodys.cache_clear()


@pytest.mark.parametrize("group", GROUPS)
def test_the_gateway_keeps_to_its_document(gateway: Fuzzed, group: str) -> None:
    """No made-up request has an answer that the document does not have."""
    config = schemathesis.Config.from_dict(CONFIG)
    document = schemathesis.openapi.from_dict(gateway.grid.app.openapi(), config=config)
    failures = []
    operations = [found.ok() for found in document.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == document.statistic.operations.total
    for operation in sorted(operations, key=lambda each: each.method == "delete"):
        if group_of(operation.path) == group:
            failures += failures_of(gateway, operation)
    assert not failures, "\n\n".join(failures)


def group_of(path: str) -> str:
    """Return the part of the work to which a path belongs."""
    return next((group for group in GROUPS if path.startswith(f"/v1/{group}")), REST)


def failures_of(gateway: Fuzzed, operation: schemathesis.APIOperation[Any, Any, Any, Any]) -> list[str]:
    """Return what an operation does that is not in the document, each kind once."""
    failures: dict[str, str] = {}
    sent = 0

    def send(case: schemathesis.Case[Any]) -> None:
        nonlocal sent
        sent += 1
        try:
            gateway.check(case)
        except FailureGroup as group:
            for each in group.exceptions:
                failures.setdefault(
                    f"{type(each).__name__} {each}"[:200], f"{operation.label}: {each}\n{case!r}"
                )

    for case in coverage(operation):
        send(case)
    assert sent, operation.label
    at_random(operation, send)
    return list(failures.values())


def coverage(operation: schemathesis.APIOperation[Any, Any, Any, Any]) -> Iterable[schemathesis.Case[Any]]:
    """Return the cases that the document suggests."""
    return CoverageGenerator(
        operation=operation,
        generation_modes=list(GenerationMode),
        generation_config=operation.schema.config.generation_for(operation=operation, phase="coverage"),
        auth_storage=None,
        override=Override(),
        feedback=NO_FEEDBACK,
    )


def at_random(
    operation: schemathesis.APIOperation[Any, Any, Any, Any], send: Callable[[schemathesis.Case[Any]], None]
) -> None:
    """Send some requests at random, valid and invalid ones, the same in each run."""
    cases = one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode])

    @settings(
        max_examples=AT_RANDOM,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def each(case: schemathesis.Case[Any]) -> None:
        send(case)

    each()
