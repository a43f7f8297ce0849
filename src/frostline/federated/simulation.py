"""A federation on one machine: Flower's simulation, in which Ray runs as many devices at once as there are cores."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

import psutil

from frostline.federated.server_app import Planned, Say, make_server_app


def simulate(planned: Planned, *, resume: bool = False, say: Say) -> None:
    """Run a planned federation, every device of the fleet a node of the simulation.

    Flower announces the end of `run_simulation`; it is used here and nowhere else.

    Raises:
        PlanError, DataError, CheckpointError: as `frostline.federated.server_app.serve`.
    """
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as Ray asks, or it warns
    os.environ.setdefault("RAY_worker_niceness", "0")  # the devices are the work: no less urgent than the server
    with tempfile.TemporaryDirectory() as home:
        os.environ.setdefault("FLWR_HOME", home)
        from flwr.simulation import run_simulation

        from frostline.federated.client_app import app

        logging.getLogger("flwr").setLevel(logging.ERROR)
        cores = max(1, len(psutil.Process().cpu_affinity() or [0]) if hasattr(psutil.Process, "cpu_affinity") else 1)
        backend: Any = {
            "init_args": {"num_cpus": cores, "include_dashboard": False, "log_to_driver": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        }
        server = make_server_app(planned, resume=resume, say=say)
        run_simulation(server, app, num_supernodes=len(planned.choice.shares), backend_config=backend)
