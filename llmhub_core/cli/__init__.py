"""The command line. Exit codes: 0 done, 1 failed, 2 used wrongly."""

from __future__ import annotations

import importlib
import keyword
from typing import Any

import click

from llmhub_core import __version__

COMMANDS = {
    "serve": "Run the hub.",
    "restart": "Replace the workers of a running hub, one by one.",
    "check": "Say what is wrong with the configuration, all of it, with line and column.",
    "plugins": "Show what is loaded, from where, and what failed and why.",
    "explain": "Show which candidates a model name leads to, in which order, and why the others not.",
    "replay": "Make logged decisions again, under this or another configuration, and show which would differ.",
    "usage": "Sum up what was used.",
    "quotas": "Show every limit, declared or learned, with its last and next reset.",
    "migrate": "Bring the database to the schema of this version.",
    "export": "Write what lasts into a file.",
    "import": "Take what lasts out of a file that export wrote.",
    "import-litellm": "Turn a config.yaml of LiteLLM into a configuration of this hub.",
    "move": "Carry everything from SQLite to PostgreSQL, while the hub serves.",
    "secrets": "Make root keys, seal everything anew by the first of them, say what can be opened.",
    "doctor": "Say what is wrong, and what to do about it.",
    "provider": "Add, change and remove places that serve models.",
    "key": "Add, import, test and remove API keys of providers.",
    "route": "Add, change and remove names that callers ask for.",
    "token": "Make, roll and revoke client tokens.",
    "user": "Make, list, change and rescue the users of the dashboard.",
    "admin-token": "Make, list and revoke tokens by which scripts use the admin API.",
    "completion": "Print what makes a shell complete commands and options.",
}
"""Each lives in a module of its own that is only imported when it runs: `--help` is there at once."""


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        room = cmd_name.replace("-", "_") + ("_" if keyword.iskeyword(cmd_name) else "")
        command: click.Command = importlib.import_module(f"llmhub_core.cli.{room}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """What the system refuses (a folder that may not be written to, a full disk) is told in one line."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.filename is None:
                raise
            click.echo(f"Cannot use {error.filename}: {error.strerror}.", err=True)
            ctx.exit(1)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message} There are: {', '.join(COMMANDS)}.", ctx) from None


@click.command(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llm-hub")
def main(**_: Any) -> None:
    """One endpoint in front of many LLM providers and many keys.

    Without a configuration, `llm-hub serve` uses the API keys that it finds in the environment
    (OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY and others).
    """
