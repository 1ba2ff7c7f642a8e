"""The model of Affluent behind `mlflow models serve`, asked as fast as it answers.

    python benches/score_peer.py FOLDER

FOLDER is a version of the model registry (what `affluent models` keeps): MLmodel, its code and data. `affluent bench score --peers` runs this.

Every request has the features of one payment. Of several numbers of clients, each asking again as soon as it is answered, the one with most
answers a second counts. Prints one line of JSON: version, clients, rate (payments a second), p50_ms, p99_ms.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import mlflow

CLIENTS = (1, 2, 4, 8)
SECONDS = 6.0
START_S = 120.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def body(folder: Path) -> bytes:
    stored = json.loads((folder / "data" / "model.json").read_text())
    names = [feature["name"] for feature in stored["features"]]
    return json.dumps({"dataframe_split": {"columns": names, "data": [[1.0] * len(names)]}}).encode()


def ask(connection: http.client.HTTPConnection, payment: bytes) -> None:
    connection.request("POST", "/invocations", payment, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"mlflow answers {answer.status}: {text[:500]!r}")


def wait_ready(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"mlflow models serve ended with {server.returncode}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"mlflow models serve is not there after {START_S:.0f} s")


def load(port: int, payment: bytes, clients: int) -> tuple[float, list[float]]:
    """Answers a second, and the seconds of each."""
    took: list[list[float]] = [[] for _ in range(clients)]
    failures: list[BaseException] = []
    until = time.perf_counter() + SECONDS

    def run(mine: list[float]) -> None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            while (began := time.perf_counter()) < until:
                ask(connection, payment)
                mine.append(time.perf_counter() - began)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(mine,)) for mine in took]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    everything = sorted(seconds for mine in took for seconds in mine)
    return len(everything) / (time.perf_counter() - began), everything


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main(folder: Path) -> None:
    port, payment = free_port(), body(folder)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder), "--env-manager", "local"]
    # It starts programs of its environment by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=sys.stderr,
        stderr=sys.stderr,
        start_new_session=True,
        env={**os.environ, "PATH": path},
    )
    try:
        wait_ready(port, server)
        ask(http.client.HTTPConnection("127.0.0.1", port, timeout=30), payment)
        best: dict[str, object] = {"rate": 0.0}
        for clients in CLIENTS:
            rate, took = load(port, payment, clients)
            if rate > float(str(best["rate"])):
                best = {
                    "version": mlflow.__version__,
                    "clients": clients,
                    "rate": rate,
                    "p50_ms": quantile(took, 0.5) * 1e3,
                    "p99_ms": quantile(took, 0.99) * 1e3,
                }
        print(json.dumps(best))
    finally:
        # It has workers of its own in its process group.
        try:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            server.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
