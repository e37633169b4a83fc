"""What a call asks for, and the candidates that may serve it."""
