"""A provider and a strategy for llm-hub."""
