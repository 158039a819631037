"""``python -m llmhub_core`` is ``llm-hub``."""

from llmhub_core.cli import main

if __name__ == "__main__":
    main(prog_name="llm-hub")
