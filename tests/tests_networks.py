"""Networks that people might bring along."""

import torch
from torch import nn


def tiny(spatial_dims, in_channels, out_channels):
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class _Explosive(nn.Conv2d):
    def forward(self, images):
        return super().forward(images) * torch.nan


def explosive(spatial_dims, in_channels, out_channels):
    return _Explosive(in_channels, out_channels, 1)


class _Broken(nn.Conv2d):
    def forward(self, images):
        raise RuntimeError("broken on purpose")


def broken(spatial_dims, in_channels, out_channels):
    return _Broken(in_channels, out_channels, 1)


def with_statistics(spatial_dims, in_channels, out_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, out_channels, 1)
    )
