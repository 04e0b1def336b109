"""Checks out the source trees of other commits of this project, to compare them with this source
tree.
"""

import subprocess
from pathlib import Path

from tests.platform import ROOT

FOLDER = ROOT / "var" / "bench"


def tagged(tag: str) -> bool:
    """Whether this repository has this git tag."""
    return bool(_git("tag", "--list", tag))


def check_out(commit: str, name: str) -> Path:
    """Returns the folder `var/bench/<name>` with this commit checked out. It is created on first
    use.

    Raises subprocess.CalledProcessError if the commit does not exist.
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
