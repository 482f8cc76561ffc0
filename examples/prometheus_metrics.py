"""A training script that serves Prometheus series of its own and knows nothing of Podium: linear regression by momentum."""

import http.server
import sys
import threading
import time

import numpy as np

lr, momentum, port = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
page = served = ""


class Series(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        global served  # noqa: PLW0603  (a script's state)
        self.send_response(200)
        self.end_headers()
        text = page
        self.wfile.write(text.encode())
        served = text

    def log_message(self, *_: object) -> None:
        """Scrapes are no news."""


server = http.server.ThreadingHTTPServer(("", port), Series)
threading.Thread(target=server.serve_forever, daemon=True).start()

rng = np.random.default_rng(0)
inputs, noise = rng.normal(size=(300, 8)) * np.geomspace(0.3, 3.0, 8), rng.normal(size=300)
outputs = inputs @ rng.normal(size=8) + 0.1 * noise
weights = velocity = np.zeros(8)
for epoch in range(1, 6):
    for _ in range(10):
        velocity = momentum * velocity - lr * inputs[:200].T @ (inputs[:200] @ weights - outputs[:200]) / 200
        weights = weights + velocity
    losses = ((inputs @ weights - outputs) ** 2).reshape(3, 100).mean(axis=1)
    page = (
        f"epochs_trained {epoch}\n"
        f'model_loss{{split="train"}} {losses[:2].mean():.6g}\n'
        f'model_loss{{split="validation"}} {losses[2]:.6g}\n'
    )
    time.sleep(0.1)  # a real epoch takes longer

deadline = time.monotonic() + 10
while served != page and time.monotonic() < deadline:  # what nobody has scraped is lost when the script ends
    time.sleep(0.02)
