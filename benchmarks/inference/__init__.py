"""Latency, memory and accuracy of answers, beside other runtimes in the same run."""
