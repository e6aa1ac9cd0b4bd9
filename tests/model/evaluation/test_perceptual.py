import pytest
import torch
from torchmetrics.functional.image.lpips import _LPIPS

from model.evaluation.perceptual import Identity, Lpips, load_distances, load_fid
from model.state_dicts import WeightsError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reference() -> _LPIPS:
    """torchmetrics' LPIPS, on a VGG16 of random weights."""
    torch.manual_seed(0)
    return _LPIPS(net="vgg", pnet_rand=True)


@pytest.fixture(scope="module")
def vgg16(reference, tmp_path_factory):
    """The same VGG16, as torchvision names it."""
    state = {
        f"features.{key.partition('.')[2]}": value
        for key, value in reference.net.state_dict().items()
    }
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(state | {"classifier.0.bias": torch.zeros(1)}, path)
    return path


def test_lpips_is_torchmetrics(reference, vgg16):
    lpips = load_distances(vgg16, None, CPU)["lpips"]
    a, b = (torch.rand(2, 3, 48, 48) * 2 - 1).requires_grad_(), torch.rand(2, 3, 48, 48) * 2 - 1
    ours = lpips(a, b)
    torch.testing.assert_close(ours, reference(a, b).view(-1), rtol=1e-4, atol=1e-6)
    assert lpips(b, b).abs().max() == 0
    (gradient,) = torch.autograd.grad(ours.sum(), a)
    assert gradient.abs().sum() > 0
    assert not any(p.requires_grad for p in Lpips.load(vgg16).parameters())


def test_identity_is_of_the_inner_face():
    torch.manual_seed(0)
    identity = Identity().eval()
    a = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert identity(a, a).abs().max() < 1e-5
        hair = a.clone()
        hair[:, :, :8] = 1  # above 35/256 of the height
        assert identity(a, hair).abs().max() < 1e-5
        assert identity(a, -a).min() > 1e-3
        # as training and evaluation have their pictures in memory
        last = [x.to(memory_format=torch.channels_last) for x in (a, -a)]
        torch.testing.assert_close(identity(*last), identity(a, -a))


def test_files_that_will_not_do(tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "no.pth")
    with pytest.raises(WeightsError, match=r"no\.pth does not hold the weights of VGG16"):
        load_distances(tmp_path / "no.pth", None, CPU)
    with pytest.raises(WeightsError, match="does not hold the weights of IR-SE50"):
        load_distances(None, tmp_path / "no.pth", CPU)
    with pytest.raises(WeightsError, match="does not exist"):
        load_fid(tmp_path / "none.pth", CPU)
    assert load_distances(None, None, CPU) == {}
    assert load_fid(None, CPU) == {}
