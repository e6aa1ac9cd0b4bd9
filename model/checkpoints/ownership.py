"""Checks who may write a file, since files that others can write are not safe to load."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path


def others_can_write(path: Path) -> bool:
    """Whether users other than this one, the owner and root may change a file or a folder.

    A group whose only members are this user and root is safe: on many systems every user has such a
    group, which may write all files of the user.  Raises OSError.
    """
    found = path.stat()
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and _has_others(found.st_gid)


def is_own(path: Path) -> bool:
    """Whether a file or a folder belongs to this user or root, and nobody else may change it.

    Also False if it does not exist.
    """
    try:
        return path.stat().st_uid in {os.geteuid(), 0} and not others_can_write(path)
    except OSError:
        return False


def _has_others(group: int) -> bool:
    """Whether a group has members beside this user and root."""
    me = os.geteuid()
    known = {user.pw_name: user for user in pwd.getpwall()}
    if any(u.pw_gid == group and u.pw_uid not in {me, 0} for u in known.values()):
        return True
    try:
        listed = grp.getgrgid(group).gr_mem
    except KeyError:  # a group without a name, in a container
        return group != os.getegid()
    return any(name not in known or known[name].pw_uid not in {me, 0} for name in listed)
