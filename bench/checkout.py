"""Work trees of other commits of this project, which are measured beside this tree."""

import subprocess
from pathlib import Path

from tests.platform import ROOT

FOLDER = ROOT / "var" / "bench"


def tagged(tag: str) -> bool:
    """Whether this repository has the tag."""
    return bool(_git("tag", "--list", tag))


def check_out(commit: str, name: str) -> Path:
    """The work tree `var/bench/<name>`, made on first use, at this commit.

    Raises subprocess.CalledProcessError when there is no such commit.
    """
    tree = FOLDER / name
    if not tree.exists():
        _git("worktree", "prune")
        _git("worktree", "add", "--detach", str(tree), commit)
    _git("-C", str(tree), "checkout", "--quiet", "--detach", commit)
    return tree


def _git(*arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return ended.stdout.strip()
