"""llm-hub completion"""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(shell: str) -> None:
    """Print what makes the shell complete commands and options with the Tab key.

    bash: eval "$(llm-hub completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc;
    fish: llm-hub completion fish > ~/.config/fish/completions/llm-hub.fish
    """
    from llmhub_core.cli import main

    # Not source(): for bash that asks the bash at hand for its version, which need not be the one that reads this.
    made = SHELLS[shell](main, {}, "llm-hub", "_LLM_HUB_COMPLETE")
    click.echo(made.source_template % made.source_vars())
