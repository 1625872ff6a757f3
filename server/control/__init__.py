"""Control: what devices shall run goes out over MQTT, what they report comes in."""
