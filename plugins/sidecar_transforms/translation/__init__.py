"""Translation between the protocols of models. [The page](docs/translation.md) has what is lost."""

from sidecar_transforms.translation.estimates import estimate_tokens
from sidecar_transforms.translation.hub import (
    ResponseTranslator,
    Translated,
    TranslationContext,
    lost_between,
    translate_error,
    translate_request,
)
from sidecar_transforms.translation.losses import Loss
from sidecar_transforms.translation.model import TranslationError

__all__ = [
    "Loss",
    "ResponseTranslator",
    "Translated",
    "TranslationContext",
    "TranslationError",
    "estimate_tokens",
    "lost_between",
    "translate_error",
    "translate_request",
]
