"""The control plane: the admin API and the pages over it."""
