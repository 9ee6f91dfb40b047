"""The bar of training, with data that the package does not know."""

from __future__ import annotations

import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, IterableDataset

from longmab_pl.callbacks import RoundProgressBar


class Numbers(IterableDataset):
    def __iter__(self):
        yield from torch.arange(3.0)


class Line(LightningModule):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        return (self.slope * batch - 1).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_data_without_a_length_has_no_bar(tmp_path, capsys):
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=1,
        callbacks=[RoundProgressBar()],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(Line(), DataLoader(Numbers()))
    assert trainer.global_step == 3
    assert "training" not in capsys.readouterr().err
