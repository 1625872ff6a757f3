"""Pure and shared: what the server and the device must agree on."""
