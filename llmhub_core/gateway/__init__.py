"""The data plane: the chain from a caller's request to a provider and back."""
