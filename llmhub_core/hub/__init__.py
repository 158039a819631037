"""What runs: settings, registry, catalog, pool, health, tokens, ledger."""
