"""The models that are measured, each with what it is measured on."""
