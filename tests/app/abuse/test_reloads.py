"""Models swapped under load: every answer is that of the model it names, none is lost, a bad file changes nothing."""

import asyncio
from pathlib import Path
from typing import Final

import httpx
import pytest

from data.files import write_atomically
from model.predictor import Predictor

from ..models import FOUND, blind_model, sighted_model
from .conftest import Running

pytestmark = pytest.mark.anyio

SWAPS: Final = 50
CLIENTS: Final = 6


async def test_fifty_swaps_under_load_lose_nothing_and_mix_nothing(
    running: Running, part: bytes, tmp_path: Path
) -> None:
    models = {"sighted": sighted_model(), "blind": blind_model()}
    digests = {
        Predictor.open(content, device="cpu", threads=1).digest: name for name, content in models.items()
    }
    assert len(digests) == 2
    served = tmp_path / "model.onnx"
    served.write_bytes(models["sighted"])
    answers: list[httpx.Response] = []
    done = False

    async def ask(client: httpx.AsyncClient) -> None:
        while not done:
            answers.append(await client.post("/v1/predictions?mask=none", content=part))

    async with running(model=served) as client:
        asking = [asyncio.create_task(ask(client)) for _ in range(CLIENTS)]
        for swap in range(SWAPS):
            name = ("blind", "sighted")[swap % 2]
            if swap % 10 == 9:
                await _refuse(client, served, models[name])
            write_atomically(served, models[name])
            reloaded = await client.post("/v1/model/reload")
            assert (reloaded.status_code, reloaded.json()["name"]) == (200, name)
            # Whoever asks from here on gets the new one, while those who asked before are still on their way.
            fresh = await client.post("/v1/predictions?mask=none", content=part)
            assert fresh.json()["model"] == {
                key: reloaded.json()[key] for key in ("name", "version", "sha256")
            }
        done = True
        await asyncio.gather(*asking)
    assert {answer.status_code for answer in answers} == {200}
    by_model = {name: [one for one in answers if one.json()["model"]["name"] == name] for name in models}
    assert min(map(len, by_model.values())) >= SWAPS / 2, "the load was too light to tell anything"
    for answer in answers:
        told = answer.json()
        assert digests[told["model"]["sha256"]] == told["model"]["name"]
        found = {defect["class"]: defect["area_px"] for defect in told["defects"]}
        assert found == FOUND[told["model"]["name"]]


async def _refuse(client: httpx.AsyncClient, served: Path, content: bytes) -> None:
    """Offer a file that breaks off half-way; what was there before must stay."""
    before = (await client.get("/v1/model")).json()
    write_atomically(served, content[: len(content) // 2])
    refused = await client.post("/v1/model/reload")
    assert refused.status_code == 422
    assert "the old one stays" in refused.json()["detail"]
    assert (await client.get("/v1/model")).json() == before
    assert (await client.get("/readyz")).status_code == 200
