"""Runs the double of the gateway for a browser."""

import threading

import uvicorn

from unit.gateway.page_double import PageDouble, build_app


class Server:
    """The double on a loopback port, in a thread of its own; it can be stopped and started again on the same port."""

    def __init__(self, double: PageDouble) -> None:
        self.double = double
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        config = uvicorn.Config(
            build_app(self.double),
            host="127.0.0.1",
            port=self.port,
            ws="none",
            log_level="critical",
            timeout_graceful_shutdown=0,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            self.thread.join(0.01)
            if not self.thread.is_alive():
                raise RuntimeError("The double of the gateway did not start.")
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
