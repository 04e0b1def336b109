"""The command that prints scripts for shell completion."""

import rich_click as click
from click.shell_completion import get_completion_class

from often_client.cli.output import line


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands in a shell.

    For bash: `often completion bash > ~/.local/share/bash-completion/completions/often`
    """
    from often_client.cli.often import often  # noqa: PLC0415 - it imports this module

    kind = get_completion_class(shell)
    assert kind is not None
    line(kind(often, {}, "often", "_OFTEN_COMPLETE").source())
