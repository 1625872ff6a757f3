"""Version 1 of the wire contract: stubs generated from the .proto files beside this file."""
