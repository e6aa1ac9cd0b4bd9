import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.networks import Architecture, Discriminator, FullGenerator
from model.networks.discriminator import MinibatchStdDev
from model.networks.layers import ModulatedConv2d, ModulatedPointwise, channels_at

GOLDEN = Path(__file__).parents[2] / "golden"
VARIANTS = [
    "64_cm2_n0.25_s0",
    "256_cm1_n0.5_s1",
    pytest.param("512_cm2_n1_s2", marks=pytest.mark.long),
]


@dataclass(frozen=True)
class Golden:
    """Published values, and ours, of one variant."""

    expected: dict[str, np.ndarray]
    y: Tensor
    score: Tensor
    grad_norm: float
    r1: float
    r1_grad_norm: float


def fill(network: nn.Module, seed: int) -> None:
    """Weights that are a function of their names, so that another implementation can have them."""
    state = network.state_dict()
    for key, tensor in state.items():
        if key.endswith("kernel"):
            continue
        rng = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
        value = rng.standard_normal(tuple(tensor.shape))
        if key.startswith("generator.style.") and key.endswith(".weight"):
            value *= 100
        if key.endswith("noise.weight"):
            value = 0.3 + 0.05 * value
        elif key.endswith("bias"):
            value *= 0.1
        if key.endswith("modulation.bias"):
            value += 1
        state[key] = torch.from_numpy(value.astype(np.float32))
    network.load_state_dict(state)


@pytest.fixture(scope="module", params=VARIANTS)
def golden(request) -> Golden:
    """Everything at once: at 512 a forward pass through both networks takes its time."""
    with np.load(GOLDEN / f"gpen_{request.param}.npz") as file:
        expected = dict(file)
    size, seed, n = (int(expected[key]) for key in ("size", "seed", "n"))
    architecture = Architecture(
        size, int(expected["channel_multiplier"]), float(expected["narrow"])
    )
    generator, discriminator = architecture.generator(), architecture.discriminator()
    fill(generator, seed)
    fill(discriminator, seed)
    noise = np.random.RandomState(1000 + seed).standard_normal((n, 3, size, size))
    x = torch.from_numpy((0.5 * noise).astype(np.float32)).requires_grad_()

    generator.requires_grad_(False)
    discriminator.requires_grad_(False)
    y = generator(x)
    score = discriminator(y)
    (gradient,) = torch.autograd.grad(score.sum(), x)

    discriminator.requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    r1 = slope.square().sum(dim=(1, 2, 3)).mean()
    # the last bias does not move the slope
    penalty = torch.autograd.grad(r1, list(discriminator.parameters()), allow_unused=True)
    squares = [part.square().sum().item() for part in penalty if part is not None]
    return Golden(
        expected,
        y.detach(),
        score.detach().flatten(),
        gradient.norm().item(),
        r1.item(),
        sum(squares) ** 0.5,
    )


def test_generator_gives_the_published_pictures(golden):
    stride = 1 if golden.y.shape[-1] == 64 else golden.y.shape[-1] // 32
    expected = torch.from_numpy(golden.expected["y"])
    ours = golden.y[:, :, ::stride, ::stride]
    assert (ours - expected).norm() <= 1e-4 * expected.norm()
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))
    assert golden.y.mean().item() == pytest.approx(float(golden.expected["y_mean"]), rel=1e-4)
    assert golden.y.std().item() == pytest.approx(float(golden.expected["y_std"]), rel=1e-4)


def test_discriminator_gives_the_published_logits(golden):
    torch.testing.assert_close(
        golden.score, torch.from_numpy(golden.expected["score"]), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("name", ["grad_norm", "r1", "r1_grad_norm"])
def test_gradients_are_the_published_ones(golden, name):
    assert getattr(golden, name) == pytest.approx(float(golden.expected[name]), rel=1e-4)


@pytest.mark.parametrize("network", ["generator", "discriminator"])
@pytest.mark.parametrize("variant", [(64, 2, 0.25), (256, 1, 0.5), (512, 2, 1.0)])
def test_published_checkpoints_load_strictly(variant, network):
    size, channel_multiplier, narrow = variant
    name = f"keys_{network}_{size}_cm{channel_multiplier}_n{narrow:g}.json"
    published = {
        key: tuple(shape) for key, shape in json.loads((GOLDEN / name).read_text()).items()
    }
    with torch.device("meta"):
        architecture = Architecture(*variant)
        built = architecture.generator() if network == "generator" else architecture.discriminator()
        state = {key: torch.empty(shape) for key, shape in published.items()}
    assert {key: tuple(value.shape) for key, value in built.state_dict().items()} == published
    built.load_state_dict(state, strict=True, assign=True)


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(64, 1, 1 / 16),
        Architecture(64, 2, 0.25),
        Architecture(128, 4, 0.125),
        Architecture(256, 1, 0.25),
        Architecture(256, 1, 0.5),
        Architecture(512, 2, 1.0),
        Architecture(1024, 2, 1.0),
        Architecture(2048, 2, 1.0),
    ],
    ids=str,
)
def test_architecture_is_deduced_from_weights(architecture):
    with torch.device("meta"):
        state = architecture.generator().state_dict()
    assert Architecture.from_state_dict(state) == architecture


def test_architecture_of_other_weights_is_refused():
    with torch.device("meta"):
        discriminator, small = Discriminator(64, 1, 0.25), FullGenerator(32, narrow=0.25)
    for network in (discriminator, small):
        with pytest.raises(ValueError, match="not the weights of a GPEN generator"):
            Architecture.from_state_dict(network.state_dict())


@pytest.mark.parametrize("size", [4, 0, -64, 100, 4096])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ValueError, match="power of two from 8 to 2048"):
        FullGenerator(size)
    with pytest.raises(ValueError, match="power of two from 8 to 2048"):
        Discriminator(size)


@pytest.mark.parametrize(
    ("size", "style_dim", "n_mlp", "channel_multiplier", "narrow"),
    [(8, 512, 8, 2, 1 / 32), (16, 64, 2, 1, 0.05), (32, 512, 1, 4, 0.03), (128, 32, 3, 1, 0.07)],
)
@torch.no_grad()
def test_shapes_of_unusual_variants(size, style_dim, n_mlp, channel_multiplier, narrow):
    generator = FullGenerator(size, style_dim, n_mlp, channel_multiplier, narrow)
    y = generator(torch.rand(3, 3, size, size) * 2 - 1)
    assert y.shape == (3, 3, size, size)
    assert y.isfinite().all()
    assert sum(key.endswith(".weight") for key in generator.generator.style.state_dict()) == n_mlp
    discriminator = Discriminator(size, channel_multiplier, narrow)
    features = discriminator.features(y)
    resolutions = [size >> i for i in range(len(features))]
    assert resolutions[-1] == 4
    assert [tuple(feature.shape) for feature in features] == [
        (3, channels_at(r, channel_multiplier, narrow), r, r) for r in resolutions
    ]
    assert discriminator(y).shape == (3, 1)


@pytest.mark.parametrize(
    ("resolution", "channels"),
    [(4, 256), (32, 256), (64, 256), (128, 128), (256, 64), (512, 32), (1024, 16), (2048, 8)],
)
def test_channels(resolution, channels):
    assert channels_at(resolution, 2, 0.5) == channels


@torch.no_grad()
def test_a_face_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    generator = FullGenerator(64, channel_multiplier=1, narrow=0.125)
    fill(generator, 5)
    x = torch.rand(3, 3, 64, 64) * 2 - 1
    together = generator(x)
    alone = torch.cat([generator(face) for face in torch.split(x, 1)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.1


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    generator, discriminator = FullGenerator(64, narrow=1 / 16), Discriminator(64, 2, 1 / 16)
    fill(generator, 0)
    discriminator(generator(torch.rand(2, 3, 64, 64) * 2 - 1)).sum().backward()
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def published_modulated_conv(
    layer: ModulatedConv2d | ModulatedPointwise, x: Tensor, style: Tensor
) -> Tensor:
    """StyleGAN2's own form: one weight per sample, all in one grouped convolution."""
    n, channels_in, height, width = x.shape
    channels_out, taps = layer.weight.shape[1], layer.weight.shape[-1]
    s = layer.modulation(style).view(n, 1, channels_in, 1, 1)
    weight = layer.weight / (channels_in * taps**2) ** 0.5 * s
    if isinstance(layer, ModulatedConv2d):
        weight = weight / (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).sqrt()
    x = x.reshape(1, n * channels_in, height, width)
    if isinstance(layer, ModulatedConv2d) and layer.blur is not None:
        y = F.conv_transpose2d(x, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=n)
        kernel = torch.tensor([1, 3, 3, 1], dtype=x.dtype).outer(x.new_tensor([1, 3, 3, 1])) / 16
        y = F.conv2d(F.pad(y, (1, 1, 1, 1)).transpose(0, 1), kernel[None, None]).transpose(0, 1)
    else:
        y = F.conv2d(x, weight.flatten(0, 1), padding=taps // 2, groups=n)
    return y.view(n, channels_out, *y.shape[-2:])


@pytest.mark.parametrize("upsample", [False, True])
def test_modulated_convolution_is_the_published_one(upsample):
    torch.manual_seed(0)
    layer = ModulatedConv2d(5, 7, 16, upsample=upsample).double()
    x = torch.randn(3, 5, 6, 6, dtype=torch.float64)
    style = torch.randn(3, 16, dtype=torch.float64) * 3
    y = layer(x, style)
    assert y.shape == (3, 7, *((12, 12) if upsample else (6, 6)))
    torch.testing.assert_close(y, published_modulated_conv(layer, x, style))


def test_pointwise_modulated_convolution_is_the_published_one():
    torch.manual_seed(0)
    layer = ModulatedPointwise(5, 3, 16).double()
    x = torch.randn(2, 5, 6, 4, dtype=torch.float64)
    style = torch.randn(2, 16, dtype=torch.float64) * 3
    bias = torch.randn(1, 3, 1, 1, dtype=torch.float64)
    y = layer(x, style, bias)
    torch.testing.assert_close(y, published_modulated_conv(layer, x, style) + bias)


def test_pointwise_modulated_convolution_can_be_differentiated_twice():
    torch.manual_seed(0)
    layer = ModulatedPointwise(4, 3, 5).double()
    inputs = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 4, 3, 2), (2, 5), (1, 3, 1, 1))
    ]
    assert torch.autograd.gradcheck(layer, inputs)
    assert torch.autograd.gradgradcheck(layer, inputs)


def test_minibatch_standard_deviation():
    x = torch.randn(4, 5, 4, 4)
    y = MinibatchStdDev()(x)
    assert torch.equal(y[:, :5], x)
    expected = np.sqrt(x.numpy().var(axis=0) + 1e-8).mean()
    np.testing.assert_allclose(y[:, 5].numpy(), np.full((4, 4, 4), expected), rtol=1e-5)
