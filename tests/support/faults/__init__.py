"""Faults by name: of the link (``FaultyLink``), of what the server sends, of the server, of the clock."""
