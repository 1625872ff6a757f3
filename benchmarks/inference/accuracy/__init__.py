"""What integer inference answers, beside float arithmetic on the same weights."""
