import pytest
import torch
from safetensors.torch import save_file

from model.state_dicts import WeightsError, read_tensors

ONE, TWO = ({"weight": torch.full((2,), value)} for value in (1.0, 2.0))


@pytest.mark.parametrize(
    ("document", "entries", "expected"),
    [
        (ONE, ("g_ema",), ONE),
        ({"params": ONE, "g_ema": TWO}, ("g_ema", "params"), TWO),
        ({"params": ONE, "g_ema": TWO}, ("params", "g_ema"), ONE),
        ({"g_ema": {f"module.{key}": value for key, value in ONE.items()}}, ("g_ema",), ONE),
    ],
    ids=["plain", "first entry", "other entry", "DataParallel"],
)
def test_where_a_state_dict_lies(tmp_path, document, entries, expected):
    torch.save(document, tmp_path / "weights.pth")
    (name, tensor), *others = read_tensors(tmp_path / "weights.pth", entries).items()
    assert name == "weight"
    assert torch.equal(tensor, expected["weight"])
    assert not others


def test_names_of_data_parallel_in_safetensors(tmp_path):
    save_file({"module.weight": ONE["weight"]}, tmp_path / "weights.safetensors")
    assert list(read_tensors(tmp_path / "weights.safetensors")) == ["weight"]


@pytest.mark.parametrize(
    "document", [[1], {"step": 3}, {"d": ONE}, {"g_ema": 5}, {3: ONE["weight"]}], ids=str
)
def test_files_without_a_state_dict(tmp_path, document):
    torch.save(document, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"weights\.pth holds no state dict, .* under g_ema, g$"):
        read_tensors(tmp_path / "weights.pth", ("g_ema", "g"))
