"""The papers' average precision gives the numbers of the authors' code."""

import numpy as np
import pytest

from model_core.measure.average_precision import IOU_THRESHOLDS, average_precision


def pytest_generate_tests(metafunc):
    if "ap_case" in metafunc.fixturenames:
        path = metafunc.config.getoption("--golden-dir") / "average_precision.npz"
        if not path.is_file():
            mark = pytest.mark.skip(reason="no average_precision.npz in the golden folder")
            metafunc.parametrize("ap_case", [pytest.param(None, marks=mark)])
            return
        with np.load(path) as archive:
            names = sorted({key.split("_", 1)[0] for key in archive})
        metafunc.parametrize("ap_case", [(path, name) for name in names], ids=names)


def test_average_precision(ap_case):
    path, name = ap_case
    with np.load(path) as archive:
        case = {key.removeprefix(f"{name}_"): archive[key] for key in archive if key.startswith(f"{name}_")}
    masks = {kind: np.unpackbits(case[f"{kind}_masks"], axis=-1).astype(bool) for kind in ("gt", "pred")}
    found = average_precision(
        masks["pred"], case["pred_scores"], case["pred_labels"], masks["gt"], case["gt_labels"]
    )
    assert found.shape == IOU_THRESHOLDS.shape
    np.testing.assert_allclose(found, case["ap"], rtol=1e-3, atol=1e-3)
