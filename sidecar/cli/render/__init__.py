"""Terminal output: tables, explanations, the live screen."""
