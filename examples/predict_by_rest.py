"""Send images to a running service, print what it says of each, keep the masks beside them.

    segnet serve --model runs/demo/model.onnx
    python examples/predict_by_rest.py http://127.0.0.1:8000 part.jpg …

SEGNET_KEY holds the API key, where the service wants one.
"""

import os
import sys
from pathlib import Path

from app.client import Client, ClientError
from app.schemas import PngMask


def main(url: str, *paths: str) -> None:
    with Client(url, key=os.environ.get("SEGNET_KEY")) as client:
        for path in map(Path, paths):
            try:
                prediction = client.predict(path)
            except ClientError as error:
                print(f"{path}: {error}")
                continue
            print(f"{path}: {prediction.verdict}  {'; '.join(prediction.reasons)}")
            if isinstance(prediction.mask, PngMask):
                path.with_name(f"{path.stem}_mask.png").write_bytes(prediction.mask.to_png())


if __name__ == "__main__":
    main(*sys.argv[1:])
