"""The ``nestfleet`` command, one module per group of commands."""
