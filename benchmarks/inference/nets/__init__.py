"""The models that are run, as every runtime gets them."""
