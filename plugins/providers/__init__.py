"""Places that serve models."""
