"""How large an answer is likely to be: what was asked for at most, or what this key's calls of this
model have needed so far. For reserving only; nothing of it is ever written into a request.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from math import ceil

REMEMBERED = 64
"""Answers of one key and model that are looked back on."""
ENOUGH = 5
"""Answers that must have been seen before they say anything."""
MOST_PAIRS = 2000
"""Keys and models of which answers are remembered; the longest unused are forgotten."""
UNSEEN = 1024
"""Output tokens reserved for an answer without a bound, when nothing like it was seen yet."""
QUANTILE = 0.95


class Sample:
    """The latest figures of one kind, sorted, and the one that few of them exceed."""

    __slots__ = ("_latest", "_sorted")

    def __init__(self) -> None:
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, figure: float) -> None:
        """One more; the oldest is forgotten."""
        if len(self._latest) == REMEMBERED:
            oldest = self._latest.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._latest.append(figure)
        insort(self._sorted, figure)

    def typical(self) -> float | None:
        """The 95th percentile (nearest rank); None while too few were seen."""
        seen = len(self._sorted)
        return self._sorted[ceil(QUANTILE * seen) - 1] if seen >= ENOUGH else None


class Estimates:
    """What calls have needed, by key and model."""

    def __init__(self) -> None:
        self._outputs: OrderedDict[tuple[str, str], Sample] = OrderedDict()
        self._inputs: OrderedDict[tuple[str, str], Sample] = OrderedDict()

    def output(self, key: str, model: str, asked: int | None) -> int:
        """Tokens to reserve for an answer of which `asked` is the bound, if it has one."""
        sample = self._outputs.get((key, model))
        typical = None if sample is None else sample.typical()
        if typical is None:
            return UNSEEN if asked is None else asked
        return int(typical) if asked is None else min(asked, int(typical))

    def knows(self, key: str, model: str) -> bool:
        """Whether enough of its answers were seen to say what is typical."""
        sample = self._outputs.get((key, model))
        return sample is not None and sample.typical() is not None

    def input(self, key: str, model: str, guessed: int) -> int:
        """Tokens to reserve for a request that was `guessed` from its size: pictures and what is
        cached make it far less."""
        sample = self._inputs.get((key, model))
        ratio = None if sample is None else sample.typical()
        return guessed if ratio is None else max(1, ceil(guessed * ratio))

    def learn(
        self, key: str, model: str, guessed: int, input_tokens: int, output_tokens: int
    ) -> None:
        """A call came to this; only whole answers say what is typical."""
        pair = (key, model)
        _sample(self._outputs, pair).add(output_tokens)
        if guessed > 0:
            _sample(self._inputs, pair).add(input_tokens / guessed)


def _sample(samples: OrderedDict[tuple[str, str], Sample], pair: tuple[str, str]) -> Sample:
    sample = samples.get(pair)
    if sample is None:
        sample = samples[pair] = Sample()
        if len(samples) > MOST_PAIRS:
            samples.popitem(last=False)
    samples.move_to_end(pair)
    return sample
