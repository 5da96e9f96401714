"""Our model behind LitServe, for comparison: `litserve_peer.py MODEL PORT THREADS`. JPEG in, mask as PNG out.

As its manual has it: one worker, which decodes, judges and encodes; no batches, which on a processor save nothing.
The raw body comes in as it does with us, and the same code decodes, judges and encodes.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import litserve
from fastapi import Body, Response

from data.images import read_image
from data.masks import encode_labels
from model.predictor import Predictor


class Masks(litserve.LitAPI):  # type: ignore[misc]
    """An image in, its mask out."""

    def __init__(self, model: Path, *, threads: int) -> None:
        super().__init__()
        self._model, self._threads = model, threads

    def setup(self, device: str) -> None:
        self._predictor = Predictor.open(self._model, device="cpu", threads=self._threads)

    def decode_request(self, request: Annotated[bytes, Body()]) -> Any:
        return read_image(request)

    def predict(self, image: Any) -> Any:
        return self._predictor.predict(image).labels

    def encode_response(self, labels: Any) -> Response:
        return Response(encode_labels(labels, self._predictor.contract.classes), media_type="image/png")


def main(model: str, port: str, threads: str) -> None:
    """Serve until a signal comes."""
    api = Masks(Path(model), threads=int(threads))
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="error")


if __name__ == "__main__":
    main(*sys.argv[1:])
