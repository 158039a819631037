"""Orders of candidates."""
