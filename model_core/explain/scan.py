"""The class of a scan from the classes of its slices. The papers stop at the slice; this rule is ours."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from model_core.base.results import ScanVerdict, SliceSummary
from model_core.base.settings import EvidenceBasis

SLICES_USED = 10


def scan_verdict(
    summaries: Iterable[SliceSummary], *, basis: EvidenceBasis, control: str = "Control"
) -> ScanVerdict | None:
    """Return the mean class probabilities over the (up to) ten slices least like the control class.

    Most slices of an ill patient may look normal, so a mean over all would hide the disease; a single
    worst slice would follow one mistake. Class 0 is the control class in every system of the papers.

    Parameters
    ----------
    basis:
        Of the class of the slices.
    control:
        Name of class 0, for the text of the rule.

    Returns
    -------
    ScanVerdict or None
        None where no slice has a class.
    """
    judged = sorted((s.probabilities, s.slice_index, s.from_bias) for s in summaries if s.probabilities)
    if not judged:
        return None
    used = judged[:SLICES_USED]
    mean = np.mean([probabilities for probabilities, _, _ in used], axis=0)
    empty = [index for _, index, from_bias in used if from_bias]
    if len(judged) > SLICES_USED:
        rule = f"Mean over the {SLICES_USED} slices least like {control}, of {len(judged)} analysed."
    else:
        rule = f"Mean over the {len(judged)} analysed slices." if len(judged) > 1 else "One slice analysed."
    if empty:
        which = "any" if len(empty) == len(used) else str(len(empty))
        rule += f" No region is left in {which} of those: there it is the network's bias."
    return ScanVerdict(
        probabilities=tuple(float(p) for p in mean),
        class_index=int(np.argmax(mean)),
        slices_used=tuple(sorted(index for _, index, _ in used)),
        rule=rule,
        basis=basis,
        from_bias=len(empty) == len(used),
    )
