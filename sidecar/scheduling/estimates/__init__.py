"""What a call will take of its limits, and what it took: tokens, money, and the demand of both."""
