"""What it takes to change a model's level while it answers, beside loading a separate model per level."""
