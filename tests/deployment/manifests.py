"""Manifests for Kubernetes, checked against the published schemas without a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonpatch
import kubernetes_validate
import pydantic
import yaml

Manifest = dict[str, Any]

VERSIONS = ("1.30", "1.37")
"""Of Kubernetes: the oldest that the manifests are for, and the newest whose schemas are known."""
OF_THE_OPERATOR = ("ServiceMonitor", "PrometheusRule")
_KUSTOMIZATION = {"apiVersion", "kind", "resources", "images", "patches"}


def manifests(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def faults(folder: Path) -> list[str]:
    """What is wrong with the manifests below a folder, a line each."""
    return [
        f"{path.name}: {fault}"
        for path in sorted(folder.rglob("*.yaml"))
        for manifest in manifests(path)
        for fault in _faults(manifest, path)
    ]


def _faults(manifest: Manifest, path: Path) -> Iterator[str]:
    if manifest["kind"] == "Kustomization":
        yield from _kustomization_faults(manifest, path.parent)
    elif manifest["kind"] in OF_THE_OPERATOR:
        yield from _operator_faults(manifest)
    else:
        for version in VERSIONS:
            yield from resource_faults(manifest, version)


def resource_faults(manifest: Manifest, version: str) -> Iterator[str]:
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message} (Kubernetes {version})"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield error.message


def _operator_faults(manifest: Manifest) -> Iterator[str]:
    """By models made of the operator's own definition; what they do not know, they leave out."""
    try:
        read = _operators_model(manifest["kind"]).model_validate(manifest)
    except pydantic.ValidationError as error:
        for item in error.errors():
            yield f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
        return
    known = read.model_dump(by_alias=True, exclude_unset=True, mode="json")
    if known != manifest:
        yield f"there are unknown fields: of {manifest} this is known: {known}"


@cache
def _operators_model(kind: str) -> type[pydantic.BaseModel]:
    """Importing it takes seconds."""
    from cloudcoil.models.prometheus_operator import v1

    model: type[pydantic.BaseModel] = getattr(v1, kind)
    return model


def _kustomization_faults(manifest: Manifest, folder: Path) -> Iterator[str]:
    """There is no published schema of it: names of fields, and of files."""
    for field in manifest.keys() - _KUSTOMIZATION:
        yield f"unknown field {field}"
    for resource in manifest["resources"]:
        if not (folder / resource).exists():
            yield f"there is no {resource}"
    listed = {folder / resource for resource in manifest["resources"]}
    for path in folder.glob("*.yaml"):
        if path.name != "kustomization.yaml" and path not in listed:
            yield f"{path.name} is not listed"


def built(folder: Path) -> list[Manifest]:
    """What ``kubectl apply -k`` would send, as far as it is resources and JSON patches."""
    (kustomization,) = manifests(folder / "kustomization.yaml")
    found = []
    for resource in kustomization["resources"]:
        path = (folder / resource).resolve()
        found += built(path) if path.is_dir() else manifests(path)
    for patch in kustomization.get("patches", []):
        operations = json.loads((folder / patch["path"]).read_text())
        target = patch["target"]
        chosen = [m for m in found if _is(m, target["kind"], target["name"])]
        if not chosen:
            raise ValueError(f"{patch['path']} is for nothing")
        for manifest in chosen:
            jsonpatch.apply_patch(manifest, operations, in_place=True)
    return found


def named(found: list[Manifest], kind: str, name: str = "gpen") -> Manifest:
    (manifest,) = (m for m in found if _is(m, kind, name))
    return manifest


def _is(manifest: Manifest, kind: str, name: str) -> bool:
    return (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
