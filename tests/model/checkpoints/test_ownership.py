import grp
import os
import pwd
from types import SimpleNamespace

import pytest

from model.checkpoints.ownership import is_own, others_can_write


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.touch()
    return path


@pytest.mark.parametrize(("mode", "exposed"), [(0o644, False), (0o600, False), (0o646, True)])
def test_by_mode(file, mode, exposed):
    file.chmod(mode)
    assert others_can_write(file) is exposed
    assert is_own(file) is not exposed


@pytest.mark.parametrize(
    ("members", "primary", "exposed"),
    [([], [], False), (["me"], [], False), (["other"], [], True), ([], ["other"], True)],
)
def test_a_group_is_a_danger_if_it_has_others(file, monkeypatch, members, primary, exposed):
    group = file.stat().st_gid
    users = [
        SimpleNamespace(pw_name="me", pw_uid=os.geteuid(), pw_gid=group),
        SimpleNamespace(pw_name="other", pw_uid=54321, pw_gid=group if primary else 54321),
    ]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_mem=members))
    file.chmod(0o664)
    assert others_can_write(file) is exposed
    file.chmod(0o644)
    assert not others_can_write(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_is_not_ones_own(file):
    os.chown(file, 54321, -1)
    assert not is_own(file)


def test_what_is_not_there_is_nobodys(tmp_path):
    assert not is_own(tmp_path / "nothing")
