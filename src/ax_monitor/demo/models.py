"""Language models behind an API: their answers are made up here, prices and failures as usual."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

_WORD: Final = re.compile(r"[A-Za-z]{4,}")
_CHARACTERS_PER_TOKEN: Final = 4
FAILURES: Final = 0.003  # share of the calls that fail
OUTAGE_FAILURES: Final = 0.5  # the same during an outage


@dataclass(frozen=True, slots=True)
class Model:
    """A model and its price.

    Args:
        provider: Who runs it.
        name: Its name.
        usd_per_million: Price of a million tokens, read and written alike.
        seconds: Its usual time for an answer.
    """

    provider: str
    name: str
    usd_per_million: float
    seconds: float

    def cost(self, tokens: int) -> float:
        """What so many tokens cost, in US dollars."""
        return tokens * self.usd_per_million / 1e6


MODELS: Final = (
    Model("northwind", "breeze-small", 0.6, 0.02),
    Model("northwind", "gale-large", 9.0, 0.05),
    Model("contoso", "scribe-2", 3.0, 0.03),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says, and what is on the bill."""

    text: str
    tokens: int
    cost: float


class ProviderError(Exception):
    """The API refused the request."""


class Providers:
    """The APIs of all providers. `outage` makes one of them slow and unreliable."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.outage: str | None = None

    async def summarize(self, model: Model, text: str) -> Answer:
        """The words that a text has most often.

        Raises:
            ProviderError: now and then, and often during an outage.
        """
        broken = model.provider == self.outage
        await asyncio.sleep(self.seconds(model) * (12 if broken else 1))
        if self._random.random() < (OUTAGE_FAILURES if broken else FAILURES):
            raise ProviderError("429 too many requests" if broken else "503 try again later")
        words = Counter(word.lower() for word in _WORD.findall(text))
        said = ", ".join(word for word, _ in words.most_common(12))
        tokens = (len(text) + len(said)) // _CHARACTERS_PER_TOKEN
        return Answer(said, tokens, model.cost(tokens))

    def seconds(self, model: Model) -> float:
        """How long an answer takes: about as long as usual, sometimes much longer."""
        return model.seconds * self._random.lognormvariate(0.0, 0.35)
