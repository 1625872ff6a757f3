"""The models of a device, what is wanted of each beside what the device says of it."""

from __future__ import annotations

from dataclasses import dataclass

from nestfleet.v1 import catalog_pb2, control_pb2, fleet_pb2


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """One model of a device.

    Attributes:
        assigned: What the server wants of it; no model in it where nothing is.
        max_level: Highest level that the device may take; 0 for no limit.
        state: What the device says; empty where it says nothing.
    """

    assigned: catalog_pb2.VersionRef
    max_level: int
    state: control_pb2.ModelState


def device_models(device: fleet_pb2.Device) -> list[DeviceModel]:
    """Those that are assigned, in the operator's order, then those that answer all the same."""
    told = {state.model: state for state in reported_models(device.state)}
    wanted = list(device.assigned_versions)
    if not wanted and device.HasField("assigned"):
        wanted = [fleet_pb2.AssignedVersion(ref=device.assigned, max_level=device.max_level)]
    models = [
        DeviceModel(item.ref, item.max_level, told.pop(item.ref.model, control_pb2.ModelState()))
        for item in wanted
    ]
    nothing = catalog_pb2.VersionRef()
    return models + [DeviceModel(nothing, 0, state) for state in told.values() if state.proven.model]


def reported_models(state: control_pb2.DeviceState) -> list[control_pb2.ModelState]:
    """What a device says of each model; an agent that knows only one says it of its state as a whole."""
    if state.models:
        return list(state.models)
    if not state.proven.model and not state.assigned.model:
        return []
    return [
        control_pb2.ModelState(
            model=state.proven.model or state.assigned.model,
            assigned=state.assigned if state.HasField("assigned") else None,
            downloaded=state.downloaded if state.HasField("downloaded") else None,
            proven=state.proven if state.HasField("proven") else None,
            level=state.level,
            blocks=state.blocks,
            resident_bytes=state.resident_bytes,
            fault=state.fault if state.HasField("fault") else None,
            loaded_digest=state.loaded_digest,
        )
    ]


def faults(state: control_pb2.DeviceState) -> list[control_pb2.Fault]:
    """Everything that is wrong on a device, each thing once."""
    found = [state.fault] if state.HasField("fault") else []
    found += [model.fault for model in state.models if model.HasField("fault") and model.fault not in found]
    return found
