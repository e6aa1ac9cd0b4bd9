import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.networks.fir import Fir, FirUpsample

LAYERS = {
    "low-pass": lambda: Fir(padding=2),
    "after upsampling": lambda: Fir(padding=1, gain=4.0),
    "every other pixel": lambda: Fir(padding=1, stride=2),
    "upsampling": FirUpsample,
}
each_layer = pytest.mark.parametrize("make_layer", LAYERS.values(), ids=LAYERS)
SIZES = [(6, 6), (7, 5)]


def published(layer: Fir | FirUpsample, x: Tensor) -> Tensor:
    """Zeros inserted, edges padded, every pixel filtered, pixels left out."""
    n, channels, height, width = x.shape
    if isinstance(layer, FirUpsample):
        wide = x.new_zeros(n, channels, 2 * height, 2 * width)
        wide[:, :, ::2, ::2] = x
        x, padding, stride = F.pad(wide, (2, 1, 2, 1)), 0, 1
    else:
        padding, stride = layer.padding, layer.stride
    taps = x.new_tensor([1, 3, 3, 1])
    kernel = taps.outer(taps) / 64 * layer.kernel.sum()
    planes = F.conv2d(x.flatten(0, 1)[:, None], kernel[None, None], padding=padding)
    return planes.view(n, channels, *planes.shape[2:])[:, :, ::stride, ::stride]


@each_layer
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_filters_as_published(make_layer, size, memory_format):
    layer = make_layer().double()
    x = torch.randn(2, 3, *size, dtype=torch.float64).to(memory_format=memory_format)
    torch.testing.assert_close(layer(x), published(layer, x))
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), published(layer, x))


@each_layer
@pytest.mark.parametrize("size", SIZES)
def test_derivatives_of_first_and_second_order(make_layer, size):
    layer = make_layer().double()
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@each_layer
def test_bfloat16_stays_close_and_gives_bfloat16(make_layer):
    layer = make_layer()
    x = torch.randn(2, 3, 8, 8)
    y = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x.bfloat16().requires_grad_())
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), y, rtol=0.02, atol=0.02)
    low.sum().backward()


@each_layer
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # PyTorch's
def test_compiled_it_has_the_same_gradient(make_layer):
    layer = make_layer()
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    (gradient,) = torch.autograd.grad(compiled(x).square().sum(), x)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(gradient, expected)
