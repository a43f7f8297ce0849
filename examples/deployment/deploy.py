"""A real deployment on one host: a SuperLink and four SuperNodes, over TLS, each node known by its key.

    python examples/deployment/deploy.py runs/deployment

Every part is a process of its own, as it would be a machine of its own: the SuperLink (server), a SuperNode for each
device, which starts a process for each task, and `flwr run`. What this script does, a person does with the same
commands, which it prints: certificates on the server, a key pair on each device, its public half registered there.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from frostline.tasks.text import load

HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent
DAY = datetime.timedelta(days=1)


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a key on the curve that Flower asks for, and write it and its public half beside it (.pub)."""
    key = ec.generate_private_key(ec.SECP384R1())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    path.chmod(0o600)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public)
    return key


def certificates(folder: Path) -> None:
    """Write ca.crt, server.crt and server.key, good for this host for thirty days."""
    now, authority = datetime.datetime.now(datetime.UTC), ec.generate_private_key(ec.SECP384R1())
    server = ec.generate_private_key(ec.SECP384R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("Frostline example authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(authority, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(certificate("Frostline example authority", authority, is_authority=True))
    (folder / "server.crt").write_bytes(certificate("localhost", server, is_authority=False))
    plain = serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    (folder / "server.key").write_bytes(server.private_bytes(serialization.Encoding.PEM, kind, plain))


def own_data(folder: Path, devices: int, examples: int) -> list[Path]:
    """Write a file of the embedded corpus for each device: in a real fleet they have theirs already."""
    data = load("acceptability")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for device in range(devices):
        rows = data.train.select(range(device * examples, (device + 1) * examples))
        lines = [f"{data.label_names[row['label']]}\t{row['text']}" for row in rows]
        files.append(folder / f"device-{device}.tsv")
        files[-1].write_text("\n".join(["label\ttext", *lines]) + "\n", encoding="utf-8")
    return files


def free_port() -> int:
    """Return a port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(stack: ExitStack, log: Path, environment: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    """Start a process that is stopped, with all that it started, when the stack is left."""
    print("$", shlex.join(command), flush=True)
    process = subprocess.Popen(
        [str(PROGRAMS / command[0]), *command[1:]],
        stdout=stack.enter_context(log.open("wb")),
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process listens on a port of this host."""
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the SuperLink ended with code {process.returncode}; see its log.")


def deploy(folder: Path, *, examples: int, strangers: int = 0, changes: Mapping[str, object] | None = None) -> int:
    """Run the federation of federate.yaml to its end; return the exit code of `flwr run`.

    Args:
        folder: for keys, data, logs and the federation's output.
        examples: of each device.
        strangers: nodes that are started besides, whose keys nobody registered.
        changes: of the config's values.
    """
    folder = folder.resolve()
    values = yaml.safe_load((HERE / "federate.yaml").read_text(encoding="utf-8"))
    devices = sum(group["count"] for group in values["fleet"]["groups"])
    config = folder / "federate.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    places = {"output": str(folder / "run"), "own_data": str(folder / "data" / "device-{device}.tsv")}
    config.write_text(yaml.safe_dump(values | places | dict(changes or {})), encoding="utf-8")
    certificates(folder / "certificates")
    files = own_data(folder / "data", devices, examples)
    keys = [folder / "keys" / f"device-{device}" for device in range(devices + strangers)]
    for key in keys:
        private_key(key)
    port = free_port()
    authority = folder / "certificates" / "ca.crt"
    home = folder / "flower"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
        f'root-certificates = "{authority}"\n',
        encoding="utf-8",
    )
    told = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    told["PATH"] = os.pathsep.join((str(PROGRAMS), told.get("PATH", "")))  # Flower's programs start each other

    def flwr(*arguments: str) -> int:
        print("$", shlex.join(("flwr", *arguments)), flush=True)
        return subprocess.run(
            [PROGRAMS / "flwr", *arguments], env=told | {"FLWR_HOME": str(home)}, check=False
        ).returncode

    with ExitStack() as stack:
        link = ("--ssl-certfile", str(folder / "certificates" / "server.crt"))
        link += ("--ssl-keyfile", str(folder / "certificates" / "server.key"), "--ssl-ca-certfile", str(authority))
        link += ("--enable-supernode-auth", "--disable-runtime-dependency-installation")
        link += ("--host", "127.0.0.1", "--port", str(port))
        environment = told | {"FLWR_HOME": str(folder / "superlink")}
        listening(port, start(stack, folder / "superlink.log", environment, "flower-superlink", *link))
        for key in keys[:devices]:
            flwr("supernode", "register", str(key.with_suffix(".pub")))
        for device, key in enumerate(keys):
            file = files[min(device, devices - 1)]
            node = ("--superlink", f"127.0.0.1:{port}", "--root-certificates", str(authority))
            node += ("--auth-supernode-private-key", str(key), "--port", str(free_port()))
            node += ("--node-config", f"partition-id={device} data='{file}'")
            environment = told | {"FLWR_HOME": str(folder / f"node-{device}")}
            start(stack, folder / f"node-{device}.log", environment, "flower-supernode", *node)
        return flwr("run", str(HERE), "here", "--run-config", f"config='{config}'", "--stream")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for keys, data, logs and the federation's output")
    parser.add_argument("--examples", type=int, default=100, help="of each device")
    asked = parser.parse_args()
    sys.exit(deploy(asked.folder, examples=asked.examples))
