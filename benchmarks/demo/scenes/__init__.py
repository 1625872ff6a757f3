"""What happens in the demo, one module per scene. Each returns what it measured."""
