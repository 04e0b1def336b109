"""The commands that sign in and out. The password is exchanged for an API key, which several shells
may use at once.
"""

import platform

import rich_click as click

from often_client.calls.accounts import SCOPES
from often_client.cli import output, profile
from often_client.cli.access import Access
from often_client.cli.options import pass_access
from often_client.cli.profile import Profile


@click.command()
@click.option("--email", help="Email address of the account; asked for if left out.")
@click.option(
    "--days",
    type=click.IntRange(1, 366),
    default=90,
    show_default=True,
    help="Number of days until the key expires.",
)
@click.option("--read-only", is_flag=True, help="Create a key that may only read.")
@pass_access
def login(access: Access, email: str | None, days: int, read_only: bool) -> None:
    """Create an API key and store it for later commands.

    The password is asked for and not stored. The key is stored in a file that only you can read.
    """
    email = email or click.prompt("Email", err=True)
    password = click.prompt("Password", hide_input=True, err=True)
    with access.open() as client:
        client.sign_in(email, password)
        role = client.me().role
        scopes = [scope for scope in SCOPES if not read_only or scope.endswith(":read")]
        name = f"often on {platform.node()[:60] or 'a terminal'}"
        made = client.create_key(name, scopes, expires_in_days=days)
        client.sign_out()
    file = profile.write(
        access.name, Profile(access.api, email, made.id, made.key, made.expires_at.isoformat())
    )
    output.note(f"Signed in to {access.api} as {email} ({role}). The key in {file} is valid for {days} days.")


@click.command()
@click.option("--revoke", is_flag=True, help="Revoke the key as well; asks for the password.")
@pass_access
def logout(access: Access, revoke: bool) -> None:
    """Delete the stored API key.

    Copies of the key stay valid until it expires, unless you revoke it. Only a session can revoke a key,
    so `--revoke` asks for the password.
    """
    kept = access.profile
    if kept is None:
        output.note("You were not signed in.")
        return
    if revoke:
        with access.open(api=kept.api) as client:
            client.sign_in(kept.email, click.prompt(f"Password of {kept.email}", hide_input=True, err=True))
            client.revoke_key(kept.key_id)
            client.sign_out()
    profile.forget(access.name)
    ends = "" if revoke else f" Copies of key {kept.key_id} are valid until {kept.expires_at}."
    output.note(f"The key is deleted.{ends}")
