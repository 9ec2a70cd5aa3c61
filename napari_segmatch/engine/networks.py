"""Networks by name. A network is a function ``(spatial_dims, in_channels, out_channels) -> nn.Module``."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import ConfigError

Builder = Callable[..., nn.Module]
LEAKY = ("leakyrelu", {"negative_slope": 0.1, "inplace": True})


def unet(spatial_dims: int, in_channels: int, out_channels: int, features: int = 16) -> nn.Module:
    """MONAI's residual U-Net: five levels, two residual units a level, strided from the start, hence quick on a CPU."""
    from monai.networks.nets import UNet

    channels = [features * 2**level for level in range(5)]
    network = UNet(
        spatial_dims, in_channels, out_channels, channels, [2] * 4, num_res_units=2, norm="instance", act=LEAKY
    )
    if spatial_dims == 2:
        for module in network.modules():
            if type(module) is nn.InstanceNorm2d:
                module.__class__ = _ChannelNorm
        last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
        last.register_forward_pre_hook(_channels_last)
        last.register_forward_hook(_channels_first)
    return network


class _ChannelNorm(nn.InstanceNorm2d):
    """An instance norm that a CPU computes as one of groups, each of one channel.

    Its result is no view of another tensor, so that an activation may follow in place without copies on the way back: a
    tenth of a step. A GPU would compute groups in float32 where an instance norm stays in bfloat16.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu":
            return super().forward(input)
        return nn.functional.group_norm(input, self.num_features, eps=self.eps)


def _channels_last(layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """Lay out the input of a convolution from few channels to few: on a CPU it then takes a quarter of its time."""
    return inputs[0].contiguous(memory_format=torch.channels_last)


def _channels_first(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    return output.contiguous()


def basic_unet(spatial_dims: int, in_channels: int, out_channels: int, features: int = 16) -> nn.Module:
    """MONAI's plain U-Net, with two convolutions at full resolution."""
    from monai.networks.nets import BasicUNet

    channels = [features, features, *(features * 2**level for level in range(1, 4)), features]
    return BasicUNet(spatial_dims, in_channels, out_channels, channels, norm=("group", {"num_groups": 4}))


def segresnet(spatial_dims: int, in_channels: int, out_channels: int, features: int = 16) -> nn.Module:
    """MONAI's SegResNet."""
    from monai.networks.nets import SegResNet

    return SegResNet(spatial_dims, features, in_channels, out_channels)


NETWORKS: dict[str, Builder] = {"unet": unet, "basic-unet": basic_unet, "segresnet": segresnet}


def build(name: str, in_channels: int, out_channels: int, features: int) -> nn.Module:
    """Build a network for slices by name, or from your own ``package.module:function``.

    Raises
    ------
    ConfigError
        If there is no such network, or it cannot be imported or built.
    """
    if name in NETWORKS:
        return NETWORKS[name](2, in_channels, out_channels, features)
    module, _, function = name.partition(":")
    if not function:
        raise ConfigError(
            f"There is no network {name!r}; choose one of {', '.join(NETWORKS)}, or package.module:function."
        )
    try:
        return getattr(importlib.import_module(module), function)(2, in_channels, out_channels)
    except Exception as error:  # somebody else's code: whatever it raises, the person needs to know which network
        raise ConfigError(f"The network {name} could not be built ({type(error).__name__}: {error}).") from error
