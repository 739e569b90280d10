"""How an English text feels (VADER: a lexicon and rules, no network)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from neurogrid.protocol.messages import ModelSpec
from neurogrid.runners.base import Emit, Output
from neurogrid.runners.imports import load_package
from neurogrid.runners.schema import NoParameters, read, schema_of

_THRESHOLD = 0.05
"""The compound score from which the authors call a text positive or negative."""
_INLINE = 500
"""Characters up to which a text takes under a millisecond, less than a hop to a thread is worth."""

# VADER's time grows with the square of the length: 8,000 characters take about 80 ms.
Text = Annotated[str, Meta(min_length=1, max_length=8000, description="The text, in English.")]


class Sentiment:
    """Output ``{"label": positive | neutral | negative, "scores": {positive, neutral, negative, compound}}``."""

    def __init__(self) -> None:
        self.spec = ModelSpec(
            name="sentiment",
            version="vader",
            kind="classification",
            description="Whether an English text sounds positive, neutral or negative.",
            input_schema=schema_of(Text),
            parameters_schema=schema_of(NoParameters),
            example_input="What a wonderful little grid!",
            slots=8,
            deterministic=True,
        )
        self._analyzer: Any = None

    async def load(self) -> None:
        """Read the lexicon."""
        self._analyzer, version = await load_package("vaderSentiment", _analyzer)
        self.spec = msgspec.structs.replace(self.spec, version=f"vader-{version}")

    async def run(self, input: Any, parameters: dict[str, Any], emit: Emit) -> Output:
        """Return label and scores."""
        text = read(input, Text)
        analyze = self._analyzer.polarity_scores
        scores = analyze(text) if len(text) <= _INLINE else await asyncio.to_thread(analyze, text)
        return Output(
            {
                "label": _label(scores["compound"]),
                "scores": {
                    "positive": scores["pos"],
                    "neutral": scores["neu"],
                    "negative": scores["neg"],
                    "compound": scores["compound"],
                },
            }
        )

    async def close(self) -> None:
        """Let go of the lexicon."""
        self._analyzer = None


def _label(compound: float) -> str:
    if compound >= _THRESHOLD:
        return "positive"
    return "negative" if compound <= -_THRESHOLD else "neutral"


def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import (  # type: ignore[import-untyped]
        SentimentIntensityAnalyzer,
    )

    return SentimentIntensityAnalyzer()
