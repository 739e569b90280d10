"""A client that submits many tasks in one request."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from neurogrid.drill.records import Submission
from neurogrid.drill.rows import LABEL
from neurogrid.drill.work import MAX_ATTEMPTS, Work

PATH = "/v1/tasks/bulk"
TIMEOUT = 8.0


class BulkClient:
    """Submits to one of the ``gateways`` (their URLs) at random."""

    def __init__(self, gateways: Sequence[str], http: httpx.AsyncClient, api_key: str) -> None:
        """Submit with ``api_key`` by ``http``."""
        self._gateways = gateways
        self._http = http
        self._key = {"Authorization": f"Bearer {api_key}"}

    async def submit(self, submissions: Sequence[Submission], choose: random.Random) -> None:
        """Submit all of them, and note with each what its client was told."""
        url = choose.choice(self._gateways) + PATH
        body = {"tasks": [_task(one.work) for one in submissions]}
        try:
            answer = await self._http.post(url, json=body, headers=self._key, timeout=TIMEOUT)
        except httpx.TransportError as error:
            for one in submissions:
                one.unknown = f"{type(error).__name__} in bulk"
            return
        if answer.status_code != httpx.codes.OK:
            for one in submissions:
                _refuse(one, answer.status_code, f"{answer.status_code} in bulk")
            return
        for one, row in zip(submissions, answer.json()["data"], strict=True):
            _note(one, row)


def _task(work: Work) -> dict[str, Any]:
    return {
        "input": work.input,
        "model": work.model,
        "priority": work.priority,
        "metadata": {LABEL: str(work.number)},
        "max_attempts": MAX_ATTEMPTS,
    }


def _note(submission: Submission, row: Mapping[str, Any]) -> None:
    if row["status"] == "accepted":
        submission.task = row["task"]["id"]
    else:
        error = row["error"]
        _refuse(submission, error["status"], f"{error['detail']} ({error['status']} {error['code']})")


def _refuse(submission: Submission, status: int, reason: str) -> None:
    if status < 500:
        submission.refused = reason
    else:
        submission.unknown = reason
