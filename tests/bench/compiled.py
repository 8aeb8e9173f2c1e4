"""PyTorch's side with torch.compile, where it is used in practice: the loss of a training step.

It takes minutes to compile a model, and takes part in the GPT's steps only.
"""

from __future__ import annotations

import torch

from . import theirs


class Training(theirs.Training):
    def __init__(self, task, folder):
        super().__init__(task, folder)
        self.loss = torch.compile(self.loss)
