"""Names of chains, told without what it takes to run one."""

from pathlib import Path

from headframe.engine.description import shipped

DESCRIPTION = "dismine.json"


def shipped_chains() -> tuple[str, ...]:
    """Names of the chains inside the package."""
    return shipped(DESCRIPTION)


def is_chain(source: str) -> bool:
    """Whether ``source`` is a shipped chain's name or a chain's folder."""
    return source in shipped_chains() or (Path(source) / DESCRIPTION).is_file()
