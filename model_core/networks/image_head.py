"""Module S: from the flattened RoI batch to the image class (P1, section on COVID-CT-Mask-Net)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ImageHead(nn.Module):
    """Three fully connected layers on the 5N numbers of the RoI batch; ``s2new`` in the released code.

    Parameters
    ----------
    roi_batch_size:
        N.
    width:
        R, units of both hidden layers.
    classes:
        Image logits; 3 in the papers (Control, Common Pneumonia, COVID-19).
    """

    def __init__(self, *, roi_batch_size: int, width: int, classes: int) -> None:
        super().__init__()
        self.fc_scores = nn.Linear(5 * roi_batch_size, width)
        self.fc_scores_2 = nn.Linear(width, width)
        self.fc_scores_img = nn.Linear(width, classes)
        for layer in (self.fc_scores, self.fc_scores_2, self.fc_scores_img):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, batch: Tensor) -> Tensor:
        """Map (B, N, 5) RoI batches, score first, to (B, classes) logits."""
        x = batch.flatten(1)  # (B, 5N), row-major
        x = F.relu(self.fc_scores(x))  # (B, R)
        x = F.relu(self.fc_scores_2(x))  # (B, R)
        logits: Tensor = self.fc_scores_img(x)
        return logits
