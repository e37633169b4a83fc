"""What calls are expected to cost while a budget is in scope, and those without a known price."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sidecar.config import Key
from sidecar.prices import Prices
from sidecar.routing import Candidate

LEAST_NANO_DOLLARS = 1
"""Reserved for a call without a known price: a spent budget admits only an amount of 0."""
MAX_REPORTED_PAIRS = 2000
"""Keys and models without a price that are remembered as logged."""
UNPRICED = (
    "no price is known, and calls without one are refused while there is a budget (unpriced: "
    "refuse); add one under prices:"
)

log = logging.getLogger("sidecar.pricing")


class UnpricedModel(NamedTuple):
    """A model that a key uses under a budget although no price is known for it."""

    key: str
    model: str
    provider: str


class Pricing:
    """Expected costs of calls. Logs each key and model without a known price once."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._logged: dict[tuple[str, str], None] = {}
        self._met: dict[UnpricedModel, tuple[Key, str | None, Candidate]] = {}

    @property
    def unpriced(self) -> Iterator[UnpricedModel]:
        """The models without a known price that were used since the configuration was read."""
        for each, (key, model, at) in self._met.items():
            if self.expected(key, model, at, 0, 0) is None:
                yield each

    def reconcile(self) -> None:
        """Forget what was met under an earlier configuration, which may name prices now."""
        self._met.clear()

    def source(self, model: str | None, at: Candidate) -> str | None:
        """Return where the price of a call comes from, for people; None when it has none."""
        return self._prices.price_source(at.provider, model, at.model, at.route.price_name)

    def expected(
        self, key: Key, model: str | None, at: Candidate, input_tokens: int, output_tokens: int
    ) -> int | None:
        """Return nano-dollars; 0 only where the price is known to be zero, None where none is
        known."""
        return self._prices.estimate(
            at.provider, key.group, model, at.model, input_tokens, output_tokens,
            at.route.price_name,
        )  # fmt: skip

    def note_unpriced(self, key: Key, model: str | None, at: Candidate) -> None:
        """Record that a call under a budget may have no known price; log it at its first use."""
        if self.source(model, at) is not None:
            return
        self._met[UnpricedModel(key.name, _name(at, model), at.provider.name)] = (key, model, at)
        _limit_size(self._met)
        pair = (key.name, model or "")
        if pair in self._logged:
            return
        self._logged[pair] = None
        _limit_size(self._logged)
        log.warning(
            'key "%s": no price is known for %s at %s, so its calls spend no budget, and a spent '
            "budget refuses them; write priced_as: on the route, or a price under prices:",
            key.name,
            _name(at, model),
            at.provider.name,
        )


def unpriced_at(candidates: Sequence[Candidate]) -> str:
    """Return the models that the candidates would be asked for, each with its provider."""
    return ", ".join(dict.fromkeys(f"{each.model} at {each.provider.name}" for each in candidates))


def settled_amount(estimate: int, charged: int | None) -> int:
    """Return the nano-dollars that a finished call counts as: what it was charged; if that is not
    known, its estimate; nothing of a call that never had a price."""
    if charged is not None:
        return charged
    return estimate if estimate > LEAST_NANO_DOLLARS else 0


def _limit_size(remembered: dict[Any, Any]) -> None:
    if len(remembered) > MAX_REPORTED_PAIRS:
        del remembered[next(iter(remembered))]


def _name(at: Candidate, model: str | None) -> str:
    return (at.route.price_name or at.model or model or "calls without a model")[:128]
