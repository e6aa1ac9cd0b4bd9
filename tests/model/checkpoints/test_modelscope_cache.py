from pathlib import Path

import pytest

from model.checkpoints.modelscope_cache import default_cache, find_cached
from tests.planted import plant

REPOSITORY = "iic/cv_gpen_image-portrait-enhancement"
FILE = "face_detection/RetinaFace-R50.pth"

# what each generation of modelscope's clients calls a repository's folder
LAYOUTS = {
    "1.38 and later": "models/{owner}--{name}/snapshots/master",
    "1.38 and later, a tag": "models/{owner}--{name}/snapshots/v1.0.0",
    "models, MODELSCOPE_CACHE set": "models/{owner}/{name}",
    "models, by default": "hub/models/{owner}/{name}",
    "before models, MODELSCOPE_CACHE set": "{owner}/{name}",
    "before models, by default": "hub/{owner}/{name}",
}


def place(cache: Path, layout: str, repository: str = REPOSITORY, file: str = FILE) -> Path:
    owner, name = repository.split("/")
    path = cache / layout.format(owner=owner, name=name) / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return path


@pytest.mark.parametrize("owner", ["iic", "damo"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_found(tmp_path, no_modelscope, no_network, layout, owner):
    repository = REPOSITORY.replace("iic", owner)
    path = place(tmp_path / "cache", layout, repository)
    assert find_cached(tmp_path / "cache", repository, FILE, tmp_path / "config") == path


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_other_file_or_repository_is_not_found(tmp_path, no_modelscope, no_network, layout):
    cache = tmp_path / "cache"
    place(cache, layout)
    assert find_cached(cache, REPOSITORY, "net_d.pt", tmp_path / "config") is None
    assert find_cached(cache, REPOSITORY + "-hires", FILE, tmp_path / "config") is None


def test_interrupted_download_is_not_found(tmp_path, no_modelscope, no_network):
    cache = tmp_path / "cache"
    place(cache, LAYOUTS["1.38 and later"], file=FILE + ".incomplete")
    assert find_cached(cache, REPOSITORY, FILE, tmp_path / "config") is None


def test_file_that_only_the_older_of_two_layouts_has(tmp_path, no_modelscope, no_network):
    cache = tmp_path / "cache"
    place(cache, LAYOUTS["models, by default"], file="net_d.pt")
    path = place(cache, LAYOUTS["before models, by default"])
    assert find_cached(cache, REPOSITORY, FILE, tmp_path / "config") == path


def test_look_up_prints_nothing_and_leaves_the_home_folder_alone(
    tmp_path, no_modelscope, no_network, capfd
):
    cache = tmp_path / "cache"
    place(cache, LAYOUTS["before models, by default"])
    assert find_cached(cache, REPOSITORY, FILE, tmp_path / "config")
    assert capfd.readouterr() == ("", "")
    assert not no_modelscope.parent.parent.exists()


def test_look_up_does_without_a_folder_it_can_write(tmp_path, no_modelscope, no_network):
    (tmp_path / "file").touch()
    path = place(tmp_path / "cache", LAYOUTS["1.38 and later"])
    assert find_cached(tmp_path / "cache", REPOSITORY, FILE, tmp_path / "file" / "config") == path


def test_default_cache(tmp_path, no_modelscope, monkeypatch):
    assert default_cache() == no_modelscope
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "elsewhere"))
    assert default_cache() == tmp_path / "elsewhere"


def test_what_lies_in_the_cache_is_not_unpickled(tmp_path, no_modelscope, no_network):
    """The client keeps pickles there: cookies, and lists of files."""
    cache, ran = tmp_path / "cache", tmp_path / "ran"
    for layout in LAYOUTS.values():
        folder = place(cache, layout).parent.parent
        plant(folder / ".msc", ran)
        plant(folder / ".mdl", ran)
    for config in (cache, tmp_path / "config"):
        plant(config / "credentials" / "cookies", ran)
    assert find_cached(cache, REPOSITORY, FILE, tmp_path / "config") is not None
    assert not ran.exists()
