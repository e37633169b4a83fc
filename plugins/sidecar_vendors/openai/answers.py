"""Meters of JSON responses whose usage is not a chat's: embeddings, OCR, batches and images."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from sidecar import Part, ResponseFields, Usage, as_count, as_mapping
from sidecar_vendors.openai.usage import AnswerMeter


class EmbeddingsMeter(AnswerMeter):
    """A meter of embeddings: all tokens are input. Voyage reports only their total."""

    def read_response(self, answer: ResponseFields) -> None:
        """Read `total_tokens` if the response has no other figure."""
        super().read_response(answer)
        usage = as_mapping(answer.usage)
        if self._usage is None and (total := as_count(usage.get("total_tokens"))) is not None:
            tier = answer.service_tier
            self._usage = Usage(
                input_tokens=total, service_tier=tier if isinstance(tier, str) else None
            )


class PagesMeter(AnswerMeter):
    """A meter of Mistral's OCR, which counts pages; annotated pages have their own price."""

    def read_bytes(self, data: bytes) -> None:
        """Read `usage_info.pages_processed`; `data` holds the pages."""
        super().read_bytes(data)
        try:
            found = msgspec.json.decode(data, type=_Pages)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        pages = as_count(as_mapping(found.usage_info).get("pages_processed"))
        if pages is not None:
            annotated = found.document_annotation is not None
            names = ("input_document_pages", *("input_annotated_document_pages",) * annotated)
            self._usage = Usage(units=tuple((name, pages) for name in names))


class _Pages(Struct):
    usage_info: Any = None
    document_annotation: Any = None


class BatchMeter(AnswerMeter):
    """A meter of a batch. Its `usage` is the sum of its requests, whose sizes are unknown."""

    def read_response(self, answer: ResponseFields) -> None:
        """Read the usage in the service tier of batches."""
        super().read_response(answer)
        if self._usage is not None:
            usage = structs.replace(self._usage, service_tier="batch")
            part = Part("batch", None, structs.replace(usage, reasoning_tokens=None), largest=0)
            self._usage = structs.replace(usage, parts=(part,))


class ImagesMeter(AnswerMeter):
    """A meter of images. It counts them, because few vendors report their number."""

    def read_bytes(self, data: bytes) -> None:
        """Read the usage, and count the images in `data`."""
        super().read_bytes(data)
        try:
            images = len(msgspec.json.decode(data, type=_Images).data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rows = as_mapping(self.document(data)).get("data")
            images = len(rows) if isinstance(rows, list) and not self.unfinished else 0
        if images:
            usage = self._usage or Usage()
            self._usage = structs.replace(usage, units=(*usage.units, ("images", images)))


class _Images(Struct):
    data: list[Raw]
