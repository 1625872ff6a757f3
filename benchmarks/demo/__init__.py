"""The whole path on one machine: train, push, deliver, run, evict, page in, update, roll back.

Run ``python -m benchmarks.demo`` in the project's folder. Results are in ``build/demo``.
"""

import os

# Before torch is imported: its threads shall sleep while they wait for each other. Spinning, the default,
# slows training fivefold as soon as something else wants a core; and here several processes want one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
