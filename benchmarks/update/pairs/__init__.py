"""Models before and after what makes a next version: fine-tuning, or training anew."""
