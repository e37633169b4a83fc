"""The sets of endpoints that vendors of a foreign dialect have in common."""

from __future__ import annotations

MODELS = frozenset({"models", "model"})
CHAT = MODELS | {"chat", "completions"}
CHAT_AND_RESPONSES = CHAT | {"responses", "input_tokens", "compact"}
STORED = frozenset({"files", "batches"})
MESSAGES = MODELS | {"messages"}
AUDIO = frozenset({"speech", "transcriptions"})
