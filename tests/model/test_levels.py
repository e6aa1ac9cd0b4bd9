import torch

from model.levels import to_levels


def test_levels():
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    assert to_levels(x).tolist() == [0, 0, 128, 255, 255]
    every = torch.arange(256.0)
    assert torch.equal(to_levels(every / 127.5 - 1), every)
    assert to_levels(x.bfloat16()).dtype == torch.float32
