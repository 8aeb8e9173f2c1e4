"""PyTorch's side with torch.compile, where it is used in practice: the loss of a training step."""

from __future__ import annotations

import torch

from . import theirs


class Training(theirs.Training):
    def __init__(self, task, folder):
        super().__init__(task, folder)
        self.loss = torch.compile(self.loss)
