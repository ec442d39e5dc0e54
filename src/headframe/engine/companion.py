"""What learns beside a run's network, with an optimiser of its own."""

from typing import Any


class Companion:
    """A module and its optimiser, stepped after the run's; most runs have companions without one.

    Attributes:
        learner: the module as Fabric set it up; None where nothing is learnt.
        optimizer: its optimiser.
    """

    learner: Any = None
    optimizer: Any = None

    def learn(self) -> None:
        """Take a step, after the network's."""
        if self.optimizer is not None:
            self.optimizer.step()
            self.optimizer.zero_grad()

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint needs; None where nothing is learnt."""
        if self.learner is None:
            return None
        return {"learner": self.learner.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go back to the state of a checkpoint."""
        if self.learner is not None and state is not None:
            self.learner.load_state_dict(state["learner"])
            self.optimizer.load_state_dict(state["optimizer"])
