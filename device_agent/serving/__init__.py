"""Serving: the Open Inference Protocol over HTTP and gRPC, in front of the models that are loaded."""
