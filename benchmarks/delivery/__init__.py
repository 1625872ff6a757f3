"""How fast, how fairly and with how many bytes versions reach devices."""
