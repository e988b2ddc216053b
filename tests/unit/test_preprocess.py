"""The network sees a slice scaled as it was in training."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model_core.base.settings import InputSpec
from model_core.engine.preprocess import network_input, placement, to_unit_range
from model_core.phantom import make_phantom


@pytest.mark.parametrize("size", [64, 96, 160])
def test_slices_are_scaled_as_torch_scales_the_pictures_of_training(size):
    volume, _ = make_phantom(slices=4, size=96)
    spec = InputSpec(size=size)
    place, unit = placement(volume, spec), to_unit_range(volume, 2, spec)
    wanted = (round(96 * place.scale_y), round(96 * place.scale_x))
    scaled = F.interpolate(
        torch.from_numpy(unit)[None, None], size=wanted, mode="bilinear", antialias=True, align_corners=False
    )[0, 0].numpy()
    top, left = int(place.offset_y), int(place.offset_x)
    found = network_input(volume, 2, spec)[top : top + wanted[0], left : left + wanted[1]]
    # torch holds the places of pixels in 32-bit floats; 1e-4 of the window is 0.15 HU.
    np.testing.assert_allclose(found, scaled, atol=1e-4)
    assert found.std() > 0.1
