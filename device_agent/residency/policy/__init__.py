"""The residency policy: what memory and disk buy, and how often that may change. Pure."""

from device_agent.residency.policy.footprint import block_bytes, total_bytes
from device_agent.residency.policy.targets import Want, joint_targets, lowest_level, target_levels

__all__ = ["Want", "block_bytes", "joint_targets", "lowest_level", "target_levels", "total_bytes"]
