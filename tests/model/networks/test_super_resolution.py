import pickle
from pathlib import Path

import pytest
import torch

from model.networks.super_resolution import load_super_resolution
from model.state_dicts import WeightsError
from tests.upscalers import seeded_rrdbnet, state_of


def published_keys(blocks: int) -> set[str]:
    """As in the files of Real-ESRGAN, and in ModelScope's."""
    layers = [
        *("conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"),
        *(
            f"body.{block}.rdb{dense}.conv{layer}"
            for block in range(blocks)
            for dense in (1, 2, 3)
            for layer in (1, 2, 3, 4, 5)
        ),
    ]
    return {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}


@pytest.mark.parametrize(("scale", "channels"), [(2, 12), (4, 3)])
@pytest.mark.parametrize("under", ["params_ema", "params", None])
def test_the_architecture_is_deduced_from_the_published_layout(tmp_path, scale, channels, under):
    network = seeded_rrdbnet(scale, num_feat=12, num_block=3, num_grow_ch=6)
    state = state_of(network)
    assert state.keys() == published_keys(3)
    assert state["conv_first.weight"].shape == (12, channels, 3, 3)
    path = tmp_path / "weights.pth"
    torch.save({under: state} if under else state, path)
    loaded = load_super_resolution(path)
    assert (loaded.scale, loaded.fold) == (scale, 4 // scale)
    x = torch.rand(2, 3, 72, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), network(x), rtol=0, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_averaged_weights_come_first(tmp_path):
    averaged, last = seeded_rrdbnet(4), seeded_rrdbnet(4, seed=1)
    path = tmp_path / "weights.pth"
    torch.save({"params": state_of(last), "params_ema": state_of(averaged)}, path)
    loaded = load_super_resolution(path).network
    assert torch.equal(loaded.conv_hr.weight, averaged.conv_hr.weight)


@pytest.mark.parametrize("scale", [2, 4])
def test_margins_are_seen_and_not_enlarged(tmp_path, scale):
    """In one piece or by the rows of its last layers, with margins of all widths."""
    path = tmp_path / "weights.pth"
    torch.save(state_of(seeded_rrdbnet(scale)), path)
    network = load_super_resolution(path)
    x = torch.rand(1, 3, 300, 60, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = network(x)
        part = network(x, (2, 16, 0, 6))
    assert part.shape == (1, 3, 282 * scale, 54 * scale)
    expected = whole[:, :, 2 * scale : -16 * scale, : -6 * scale]
    torch.testing.assert_close(part, expected, rtol=0, atol=1e-4)


def test_the_trunk_in_bfloat16_is_faithful(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(state_of(seeded_rrdbnet(4)), path)
    x = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = load_super_resolution(path)(x)
        quick = load_super_resolution(path, torch.bfloat16)(x)
    assert quick.dtype == torch.float32
    error = (exact - quick).square().mean()
    assert 0 < error < 10**-4.5  # 45 dB


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"conv_first.weight": torch.zeros(8, 48, 3, 3)}, "48 channels, not 3 or 12"),
        ({"conv_last.weight": torch.zeros(3, 9, 3, 3)}, "size mismatch"),
        ({"body.1.rdb2.conv3.bias": None}, "body.1.rdb2.conv3.bias"),
        ({"conv_first.weight": None}, "conv_first.weight"),
        ({"more": torch.zeros(1)}, "more"),
    ],
)
def test_what_is_no_upscaler_is_refused_in_one_line(tmp_path, change, told):
    state = state_of(seeded_rrdbnet(4)) | change
    path = tmp_path / "weights.pth"
    torch.save({key: value for key, value in state.items() if value is not None}, path)
    with pytest.raises(WeightsError, match="does not hold an RRDBNet") as caught:
        load_super_resolution(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


class Payload:
    """Pickled, this is a call."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_code_in_a_pickle_is_not_run(tmp_path):
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"
    for content in (pickle.dumps(Payload(trace)), b"no weights", b""):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="cannot be read"):
            load_super_resolution(path)
    assert not trace.exists()
