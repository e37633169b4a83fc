"""Both servers and the upstream client; nothing here knows about LLMs."""
