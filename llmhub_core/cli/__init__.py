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
    "check": "Check the configuration: every problem, with line and column.",
    "plugins": "Show what is loaded, from where, and what failed and why.",
    "explain": "Show which providers and keys a model name leads to, in which order, and why others not.",
    "replay": "Make logged decisions again, under this or another configuration, and show which would differ.",
    "usage": "Sum up requests, tokens and cost.",
    "quotas": "Show every limit, declared or learned, with its last and next reset.",
    "migrate": "Bring the database to the schema of this version.",
    "export": "Write what is configured, users, audit and sums of usage into a file, to move or to keep.",
    "import": "Take in a file that export wrote.",
    "import-litellm": "Turn a config.yaml of LiteLLM into a configuration of this hub.",
    "move": "Carry everything from SQLite to PostgreSQL, while the hub serves.",
    "secrets": "Make and change the root keys that seal the secrets in the database.",
    "doctor": "Look for what is wrong, and say what to do about it.",
    "provider": "Add, change and remove places that serve models.",
    "key": "Add, import, test and remove API keys of providers.",
    "route": "Add, change and remove names that callers ask for.",
    "token": "Make, roll and revoke client tokens.",
    "user": "Make, list, change and rescue the users of the dashboard.",
    "admin-token": "Make, list and revoke tokens by which scripts use the admin API.",
    "completion": "Let the shell complete commands and options with the Tab key.",
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

    Begin with `llm-hub serve`. Without a configuration it uses the API keys that it finds in the environment
    (OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY and others), and prints a link to the dashboard, where
    everything else can be set up. If something does not work, `llm-hub doctor` says what to do.

    Of every command, --help says more.
    """
