"""Estimates of the money that a call will cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sidecar.config.model import Key, Snapshot
from sidecar.pricing.prices import Prices
from sidecar.routing.candidates import Candidate

LEAST_NANO_DOLLARS = 1
"""Reserved for a call without a known price: a spent budget admits only an amount of 0."""
MAX_REPORTED_PAIRS = 2000
"""Keys and models without a price that are kept for display."""
UNPRICED = (
    "no price is known, and calls without one are refused while there is a budget (unpriced: "
    "refuse); add one under prices:"
)


class UnpricedModel(NamedTuple):
    """A model that a key uses under a budget although no price is known for it."""

    key: str
    model: str
    provider: str


class Pricing:
    """Expected costs of calls. Logs each key and model without a known price once."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._refuse_unpriced = False
        self._unpriced: dict[UnpricedModel, tuple[Key, str | None, Candidate]] = {}

    @property
    def unpriced(self) -> Iterator[UnpricedModel]:
        """The models without a known price that were used since the configuration was read."""
        for each, (key, model, at) in self._unpriced.items():
            if self.expected(key, model, at, 0, 0) is None:
                yield each

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow a new configuration, which may have prices for models that had none."""
        self._refuse_unpriced = snapshot.refuse_unpriced
        self._unpriced.clear()

    def source(self, model: str | None, at: Candidate) -> str | None:
        """Return where the price of a call comes from, for people; None when it has none."""
        return self._prices.price_source(at.provider, model, at.model, at.price_name)

    def expected(
        self, key: Key, model: str | None, at: Candidate, input_tokens: int, output_tokens: int
    ) -> int | None:
        """Return nano-dollars; 0 only where the price is known to be zero, None where none is
        known."""
        return self._prices.estimate(
            at.provider, key.group, model, at.model, input_tokens, output_tokens,
            at.price_name,
        )  # fmt: skip

    def reservation(
        self, key: Key, model: str | None, at: Candidate, input_tokens: int, output_tokens: int
    ) -> int | None:
        """Return the nano-dollars to reserve; None if the call is refused for want of a price."""
        money = self.expected(key, model, at, input_tokens, output_tokens)
        if money is None:
            return None if self._refuse_unpriced else LEAST_NANO_DOLLARS
        return money

    def note_unpriced(self, key: Key, model: str | None, at: Candidate) -> None:
        """Record that a call under a budget may have no known price; log it at its first use."""
        if self.source(model, at) is not None:
            return
        name = _model_name(at, model)
        self._unpriced[UnpricedModel(key.name, name, at.provider.name)] = (key, model, at)
        _limit_size(self._unpriced)
        self._prices.log_unpriced(
            key.name, model, name, at.provider.name,
            "its calls spend no budget, and a spent budget refuses them",
        )  # fmt: skip


def unpriced_at(candidates: Sequence[Candidate]) -> str:
    """Return the models that the candidates would be asked for, each with its provider."""
    return ", ".join(dict.fromkeys(f"{each.model} at {each.provider.name}" for each in candidates))


def _limit_size(remembered: dict[Any, Any]) -> None:
    if len(remembered) > MAX_REPORTED_PAIRS:
        del remembered[next(iter(remembered))]


def _model_name(at: Candidate, model: str | None) -> str:
    return (at.price_name or at.model or model or "calls without a model")[:128]
