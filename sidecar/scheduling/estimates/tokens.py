"""Estimates of the tokens that a call will take, learnt from earlier calls."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from math import ceil, sqrt

from sidecar.plugin_api.guard import log_plugin_error
from sidecar.routing.candidates import Candidate

KEPT_SAMPLES = 64
"""Samples that are kept of one key and model."""
MIN_SAMPLES = 5
"""Samples that an estimate needs at least."""
LEARN_SECONDS = 0.05
"""Seconds within which a call that ended is learnt from: for many at once that costs less."""
MAX_PAIRS = 2000
"""Pairs of key and model that have samples; the least recently used are dropped."""
DEFAULT_OUTPUT_TOKENS = 4096
"""Output tokens reserved at most for a call without enough samples. Agents ask for bounds of
128,000 tokens and use a hundredth of them."""
HIGH_QUANTILE = 0.95
"""The share of responses that a reservation covers."""


class Samples:
    """The tokens that the latest `KEPT_SAMPLES` calls of one key and model took.

    Attributes:
        outputs: Their output tokens, sorted.
        inputs: The input tokens of those whose size suggested any, sorted.
        ratios: The ratios of those to what the size suggested, sorted.
        high_output: The 95th percentile of `outputs`; None below `MIN_SAMPLES`.
        ratio: The median of `ratios`, unless it varies more than the input tokens do; else None,
            as below `MIN_SAMPLES`.
        usual_input: The median of `inputs` in that case; else None.
    """

    __slots__ = (
        "_high_at", "_latest_inputs", "_latest_outputs", "_places", "high_output", "inputs",
        "outputs", "ratio", "ratios", "usual_input",
    )  # fmt: skip

    def __init__(self) -> None:
        # In order of arrival: outputs, and inputs with their ratios.
        self._latest_outputs: deque[int] = deque(maxlen=KEPT_SAMPLES)
        self._latest_inputs: deque[tuple[int, float]] = deque(maxlen=KEPT_SAMPLES)
        self.outputs: list[int] = []
        self.inputs: list[int] = []
        self.ratios: list[float] = []
        # The places of the 95th percentile of `outputs`, and of the median and the 95th percentile
        # of `inputs` and `ratios`.
        self._high_at: int | None = None
        self._places: tuple[int, int] | None = None
        self.high_output: int | None = None
        self.ratio: float | None = None
        self.usual_input: int | None = None

    def mean_output(self) -> float:
        """Return the mean of the output tokens; 0 without samples."""
        return sum(self.outputs) / max(1, len(self.outputs))

    def add(self, by_size: int, input_tokens: int, output_tokens: int) -> None:
        """Add a call whose size suggested `by_size` input tokens, in place of the oldest.

        Only its output counts if that is 0.
        """
        outputs, made = self.outputs, self._latest_outputs
        if len(made) == KEPT_SAMPLES:
            del outputs[bisect_left(outputs, made[0])]
        elif len(made) + 1 >= MIN_SAMPLES:
            self._high_at = _place(HIGH_QUANTILE, len(made) + 1)
        made.append(output_tokens)
        insort(outputs, output_tokens)
        if self._high_at is not None:
            self.high_output = outputs[self._high_at]
        if by_size <= 0:
            return
        inputs, ratios, read = self.inputs, self.ratios, self._latest_inputs
        if len(read) == KEPT_SAMPLES:
            oldest, its_ratio = read[0]
            del inputs[bisect_left(inputs, oldest)], ratios[bisect_left(ratios, its_ratio)]
        elif len(read) + 1 >= MIN_SAMPLES:
            self._places = _place(0.5, len(read) + 1), _place(HIGH_QUANTILE, len(read) + 1)
        ratio = input_tokens / by_size
        read.append((input_tokens, ratio))
        insort(inputs, input_tokens)
        insort(ratios, ratio)
        if self._places is not None:
            middle, high = self._places
            usual, ratio = inputs[middle], ratios[middle]
            # With a median of 0, which both have then, either varies without bound.
            scales = not usual or ratios[high] / ratio <= inputs[high] / usual
            self.ratio, self.usual_input = (ratio, None) if scales else (None, usual)


def _place(quantile: float, count: int) -> int:
    """Return the place of a quantile among so many sorted values, by nearest rank."""
    return ceil(quantile * count) - 1


class Estimates:
    """The tokens that calls took, by key and model."""

    def __init__(self) -> None:
        self._samples: OrderedDict[tuple[str, str], Samples] = OrderedDict()
        self._collected: list[tuple[str, str, int, int, int]] = []

    def likely(self, key: str, model: str, upper_bound: int, running: int) -> int:
        """Return the output tokens to reserve for a call beside `running` others.

        Calls hardly ever reach their bounds together: the sum of n outputs exceeds n means by the
        square root of n times the excess of one, so each further call adds a smaller part of it.
        """
        samples = self._samples.get((key, model))
        if not running or samples is None or samples.high_output is None:
            return upper_bound
        mean = min(samples.mean_output(), upper_bound)
        return ceil(mean + (upper_bound - mean) / sqrt(running + 1))

    def has_learned(self, key: str, model: str) -> bool:
        """Return whether there are enough samples for an estimate."""
        self.learn_collected()
        samples = self._samples.get((key, model))
        return samples is not None and samples.high_output is not None

    def tokens(self, key: str, model: str, by_size: int, max_output: int | None) -> tuple[int, int]:
        """Return the expected input tokens and an upper bound of the output tokens of a call.

        Input: the tokens that the size suggests, corrected by the median ratio of true tokens to
        them: images and cached text take far fewer. Where that ratio varies more than the tokens
        themselves, their median counts. Half of the calls take more than the median: the other half
        makes up for it, and no room stays unused.

        Output: the 95th percentile, or `DEFAULT_OUTPUT_TOKENS` without enough samples; at most
        `max_output`.

        Args:
            by_size: The input tokens that the size of the request suggests.
            max_output: The bound of the request on its output.
        """
        samples, most = self._samples.get((key, model)), DEFAULT_OUTPUT_TOKENS
        if samples is not None:
            ratio, usual = samples.ratio, samples.usual_input
            if samples.high_output is not None:
                most = samples.high_output
            if ratio is not None:
                by_size = max(1, ceil(by_size * ratio))
            elif usual is not None and usual < by_size:
                by_size = usual
        return by_size, most if max_output is None or most < max_output else max_output

    def collect(
        self, key: str, model: str, by_size: int, input_tokens: int, output_tokens: int
    ) -> bool:
        """Keep the arguments of `learn` until `learn_collected`; return whether nothing else is
        kept, so that this is to be called within `LEARN_SECONDS`."""
        collected = self._collected
        collected.append((key, model, by_size, input_tokens, output_tokens))
        return len(collected) == 1

    def learn_collected(self) -> None:
        """Learn from all calls that were collected."""
        collected, self._collected = self._collected, []
        for each in collected:
            self.learn(*each)

    def learn(
        self, key: str, model: str, by_size: int, input_tokens: int, output_tokens: int
    ) -> None:
        """Add the tokens of a complete call whose size suggested `by_size` input tokens."""
        pair = (key, model)
        samples = self._samples.get(pair)
        if samples is None:
            samples = self._samples[pair] = Samples()
            if len(self._samples) > MAX_PAIRS:
                self._samples.popitem(last=False)
        else:
            self._samples.move_to_end(pair)
        samples.add(by_size, input_tokens, output_tokens)


def estimate_tokens(
    candidate: Candidate, size: int, max_output: int | None
) -> tuple[int, int | None]:
    """Return the vendor's estimate of input tokens and its bound of output tokens, by size.

    The bound is None if none is known.
    """
    vendor = candidate.provider.vendor
    try:
        return vendor.estimate(size, max_output)
    except Exception as error:  # noqa: BLE001 - of a plugin
        log_plugin_error(error, vendor, "estimate", "4 bytes count as a token")
        return size // 4, max_output
