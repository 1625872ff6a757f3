"""Who does the work of quantizing: the threads of this process, or a Dask cluster."""

from server.quantize.workers.choice import make_workers
from server.quantize.workers.local import LocalWorkers
from server.quantize.workers.port import Workers

__all__ = ["LocalWorkers", "Workers", "make_workers"]
