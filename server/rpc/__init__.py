"""The gRPC face of the server: thin servicers over delivery, registry, control and ledger."""
