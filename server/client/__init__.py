"""The operator's side of a server: publish models, ask for and steer the fleet."""

from server.client.fleet import FleetClient
from server.client.publication import Acceptance, Publication
from server.client.push import push

__all__ = ["Acceptance", "FleetClient", "Publication", "push"]
