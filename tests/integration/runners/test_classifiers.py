"""The small models answer in the documented shapes."""

from __future__ import annotations

import asyncio
import base64

import pytest

from neurogrid.runners.base import TaskError
from neurogrid.runners.file_type import FileType
from neurogrid.runners.language import Language
from neurogrid.runners.sentiment import Sentiment
from tests.support.node import RecordedEmit

pytestmark = [pytest.mark.asyncio, pytest.mark.models]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Wo bitte geht es zum Bahnhof?", "de"),
        ("Where is the station,\nplease?", "en"),
        ("駅はどこですか", "ja"),
        ("où est la gare " * 5000, "fr"),
    ],
)
async def test_language(text: str, language: str) -> None:
    """The likeliest language and how likely it is."""
    model = Language()
    await model.load()
    value = (await model.run(text, {}, RecordedEmit())).value
    assert value["language"] == language
    assert 0 < value["score"] <= 1


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("What a wonderful little grid!", "positive"),
        ("This is a horrible, useless mess.", "negative"),
        ("The table has four legs.", "neutral"),
        ("I love it. " * 200, "positive"),
    ],
)
async def test_sentiment(text: str, label: str) -> None:
    """The label and the scores behind it."""
    model = Sentiment()
    await model.load()
    value = (await model.run(text, {}, RecordedEmit())).value
    assert value["label"] == label
    assert set(value["scores"]) == {"positive", "neutral", "negative", "compound"}


async def test_file_type() -> None:
    """Types are told from content, concurrently too; what is no base64 is a final error."""
    model = FileType()
    await model.load()
    script = base64.b64encode(b"#!/bin/sh\nset -e\necho hello\nexit 0\n").decode()
    empty, shell = await asyncio.gather(
        model.run({"base64": ""}, {}, RecordedEmit()), model.run({"base64": script}, {}, RecordedEmit())
    )
    assert empty.value["label"] == "empty"
    assert (shell.value["label"], shell.value["mime_type"]) == ("shell", "text/x-shellscript")
    with pytest.raises(TaskError, match="base64") as caught:
        await model.run({"base64": "?"}, {}, RecordedEmit())
    assert not caught.value.retryable
