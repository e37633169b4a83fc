"""Meters of JSON responses whose usage differs from that of a chat: embeddings and OCR."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from sidecar import ResponseFields, Usage, as_count, as_mapping
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
