"""llm-hub: one endpoint in front of many LLM providers and many keys."""

__version__ = "0.1.0"
