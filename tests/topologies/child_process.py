"""A process as the supervisor knows them, made to behave in one of several ways."""

from __future__ import annotations

import http.server
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any


def serve(ready: Any, metrics: str, answer: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, status = metrics, 200
            if self.path == "/readyz":
                status, body = (200, answer) if ready() else (503, '{"reasons": {"kafka": "away"}}')
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with os.fdopen(int(os.environ["OTLP_STREAMS_ADMIN_FD"]), "w") as pipe:
        pipe.write(f"127.0.0.1:{server.server_port}\n")


def main() -> None:
    how, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if how == "orphan":
        from topologies.cli.parent import die_with

        die_with(os.getppid())
    (folder / f"{name}.pid").write_text(str(os.getpid()))
    sys.stdout.write(f"hello from {name}\n")
    sys.stdout.flush()
    sys.stderr.write("an open line")
    sys.stderr.flush()
    if how.startswith("exit"):
        sys.exit(int(how[4:]))
    if how == "slow":
        time.sleep(60)
    stopped = threading.Event()
    if how == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    metrics = "x{ 1" if how == "garbled" else "# TYPE x counter\nx_total 7\n"
    answer = '{"warnings": {"sample": "a look"}}' if how == "warned" else "{}"
    serve(lambda: how != "unready" or (folder / "ready").exists(), metrics, answer)
    (folder / f"{name}.up").touch()
    stopped.wait()
    sys.exit(3 if how == "sour" else 0)


main()
