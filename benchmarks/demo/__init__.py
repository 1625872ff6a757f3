"""The whole path on one machine: train, push, deliver, run, evict, page in, update, roll back.

Run ``python -m benchmarks.demo`` in the project's folder. Results are in ``build/demo``.
"""
