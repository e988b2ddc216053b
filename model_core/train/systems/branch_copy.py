"""When the class branch of a two-branch single-shot model takes the weights of the segmentation branch."""

from __future__ import annotations

from typing import Any, Literal

from model_core.networks.covid_ct_mask_net import SingleShot

# coded: a running best since the start of training; written: better than the step before.
CopyRule = Literal["coded", "written", "never"]
START_OF_BEST = 10_000.0


class ClassBranchCopy:
    """The on-line copy of P3 (spec §6.4), ahead of the optimiser step whose loss it looks at."""

    def __init__(self, network: SingleShot, rule: CopyRule) -> None:
        self._network = network
        self.rule: CopyRule = rule if network.architecture.branches == 2 else "never"
        self.best_loss = START_OF_BEST
        self.copies = 0

    def look_at(self, loss: float) -> None:
        """Copy if the segmentation loss of this iteration is better (nan: no slice with lesions)."""
        better = self.rule != "never" and loss < self.best_loss
        if better:
            self._network.copy_class_branch()
            self.copies += 1
        if better or (self.rule == "written" and loss == loss):
            self.best_loss = loss

    def state(self) -> dict[str, Any]:
        """Return the running best, which the released checkpoints lose."""
        return {"best_loss": self.best_loss, "copies": self.copies}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.best_loss = float(state["best_loss"])
        self.copies = int(state["copies"])
