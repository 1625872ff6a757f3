"""The ways out: bytes from the server over gRPC, goals and facts over MQTT."""
