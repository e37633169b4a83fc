"""Commands that start agents, and that point them here."""
