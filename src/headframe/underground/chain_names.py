"""Names of chains, told without what it takes to run one."""

from importlib import resources
from pathlib import Path

DESCRIPTION = "dismine.json"


def shipped_chains() -> tuple[str, ...]:
    """Names of the chains inside the package."""
    root = resources.files("headframe") / "bundles"
    if not root.is_dir():
        return ()
    return tuple(sorted(e.name for e in root.iterdir() if e.joinpath(DESCRIPTION).is_file()))


def is_chain(source: str) -> bool:
    """Whether ``source`` is a shipped chain's name or a chain's folder."""
    return source in shipped_chains() or (Path(source) / DESCRIPTION).is_file()
