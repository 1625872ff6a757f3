"""Versions and devices among the arguments of ``nestfleet assign``, which come in any order."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from common.assigned_set import check_models
from common.names import check_name, parse_version_ref


def versions_and_devices(
    names: Sequence[str], *, all_devices: bool
) -> tuple[list[tuple[str, int]], list[str]]:
    """The versions, a number of 0 standing for the newest, and the device ids.

    What has a colon is a version. Without any colon the first name is a model, of which the newest version
    is meant.

    Raises:
        InvalidInputError: A name is none, or a model is named twice or is one too many.
        BadParameter: No version is named, or neither devices nor the whole fleet, or both.
    """
    versions = [name for name in names if ":" in name]
    others = [name for name in names if ":" not in name]
    if not versions:
        versions, others = others[:1], others[1:]
    if bool(others) == all_devices:
        raise typer.BadParameter("Name devices, or --all for the whole fleet.")
    refs = [parse_version_ref(version) for version in versions]
    check_models([model for model, _ in refs])
    return refs, [check_name(device, what="device") for device in others]
