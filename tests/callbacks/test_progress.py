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


def one_epoch(folder):
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_epochs=1,
        callbacks=[RoundProgressBar()],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )


def test_data_without_a_length_has_no_bar(tmp_path, capsys):
    trainer = one_epoch(tmp_path)
    trainer.fit(Line(), DataLoader(Numbers()))
    assert trainer.global_step == 3
    assert "training" not in capsys.readouterr().err


class Known(Line):
    def training_step(self, batch, batch_idx):
        self.log("train/loss", batch.mean(), prog_bar=True)
        return super().training_step(batch, batch_idx).mean()


def test_the_bar_ends_with_the_means_of_the_epoch(tmp_path, capsys):
    trainer = one_epoch(tmp_path)
    trainer.fit(Known(), DataLoader(torch.tensor([1.0, 2.0, 6.0]), batch_size=2))
    last = [line for line in capsys.readouterr().err.splitlines() if "2 of 2 batches" in line]
    assert last[-1].endswith("loss 3.000"), "of three pairs, not of the last batch or of two batches"
