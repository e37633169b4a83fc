"""How large an answer is likely to be: what was asked for at most, or what this key's calls of this
model have needed so far. For reserving only; nothing of it is ever written into a request.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from math import ceil, inf, sqrt

REMEMBERED = 64
"""Answers of one key and model that are looked back on."""
ENOUGH = 5
"""Answers that must have been seen before they say anything."""
MOST_PAIRS = 2000
"""Keys and models of which answers are remembered; the longest unused are forgotten."""
UNSEEN = 4096
"""Output tokens reserved at most for an answer when nothing like it was seen yet. Agents ask for
bounds of 128,000 tokens and use a hundredth of that."""
HIGH = 0.95
"""The part of answers that a reservation covers."""


class Sample:
    """The latest figures of one kind, sorted; None while too few were seen."""

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
        """What few of them exceed: the 95th percentile."""
        return self._quantile(HIGH)

    def middle(self) -> float | None:
        """What half of them exceed."""
        return self._quantile(0.5)

    def mean(self) -> float:
        """The average; 0 of nothing."""
        return sum(self._sorted) / max(1, len(self._sorted))

    def spread(self) -> float:
        """How far the highest lie above the middle: 1 when all are alike."""
        middle = self.middle()
        return (self.typical() or 0.0) / middle if middle else inf

    def _quantile(self, part: float) -> float | None:
        """By nearest rank."""
        seen = len(self._sorted)
        return self._sorted[ceil(part * seen) - 1] if seen >= ENOUGH else None


class Estimates:
    """What calls have needed, by key and model."""

    def __init__(self) -> None:
        self._outputs: OrderedDict[tuple[str, str], Sample] = OrderedDict()
        self._inputs: OrderedDict[tuple[str, str], Sample] = OrderedDict()
        self._ratios: OrderedDict[tuple[str, str], Sample] = OrderedDict()

    def output(self, key: str, model: str, asked: int | None) -> int:
        """Return the output tokens to expect at most of an answer whose bound is `asked`: the
        least of that bound and the 95th percentile, or `UNSEEN` while too few were seen."""
        sample = self._outputs.get((key, model))
        typical = None if sample is None else sample.typical()
        most = UNSEEN if typical is None else int(typical)
        return most if asked is None else min(asked, most)

    def likely(self, key: str, model: str, at_most: int, running: int) -> int:
        """Of these `output` tokens, those to hold room for where so many other calls share it.

        Hardly ever do all take much together: what n answers take lies above their average by the
        square root of n times what one does, so each adds a part of it that grows smaller.
        """
        sample = self._outputs.get((key, model))
        if sample is None or sample.typical() is None:
            return at_most
        mean = min(sample.mean(), at_most)
        return ceil(mean + (at_most - mean) / sqrt(running + 1))

    def knows(self, key: str, model: str) -> bool:
        """Whether enough of its answers were seen to say what is typical."""
        sample = self._outputs.get((key, model))
        return sample is not None and sample.typical() is not None

    def input(self, key: str, model: str, guessed: int) -> int:
        """Tokens to reserve for a request that was `guessed` from its size, by what became of such
        guesses: pictures and what is cached make it far less. Where the size says little, because
        that differs from call to call, it goes by what calls came to, whatever their size.

        Half of the requests will be larger than this: the smaller half makes up for it, and no
        room lies idle while they run.
        """
        ratios, inputs = self._ratios.get((key, model)), self._inputs.get((key, model))
        ratio = None if ratios is None else ratios.middle()
        if ratio is None or ratios is None or inputs is None:
            return guessed
        if ratios.spread() <= inputs.spread():
            return max(1, ceil(guessed * ratio))
        return min(guessed, ceil(inputs.middle() or guessed))

    def learn(
        self, key: str, model: str, guessed: int, input_tokens: int, output_tokens: int
    ) -> None:
        """A call came to this; only whole answers say what is typical."""
        pair = (key, model)
        _sample(self._outputs, pair).add(output_tokens)
        if guessed > 0:
            _sample(self._inputs, pair).add(input_tokens)
            _sample(self._ratios, pair).add(input_tokens / guessed)


def _sample(samples: OrderedDict[tuple[str, str], Sample], pair: tuple[str, str]) -> Sample:
    sample = samples.get(pair)
    if sample is None:
        sample = samples[pair] = Sample()
        if len(samples) > MOST_PAIRS:
            samples.popitem(last=False)
    samples.move_to_end(pair)
    return sample
