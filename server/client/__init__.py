"""The operator's side of a server: publish models, ask for and steer the fleet."""

from server.client.fleet import FleetClient
from server.client.publication import Acceptance, Evaluation, Publication
from server.client.push import push
from server.quantize.order import Pin

__all__ = ["Acceptance", "Evaluation", "FleetClient", "Pin", "Publication", "push"]
