"""The peer, as its makers document it: FastAPI, the official SDK's unwrap, aiokafka send_and_wait.

Runs in .venv-bench under uvicorn (uvloop, httptools, one worker); it shares no code with ours.
"""
# mypy: ignore-errors
# The peer's libraries are not installed where ours are checked.

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, Request, Response
from telnyx import AsyncTelnyx


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.telnyx = AsyncTelnyx(api_key="none", public_key=os.environ["TELNYX_PUBLIC_KEY"])
    async with AIOKafkaProducer(
        bootstrap_servers=os.environ["KAFKA"], acks="all", enable_idempotence=True
    ) as producer:
        app.state.producer = producer
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/readyz")
async def ready() -> Response:
    return Response()


@app.post("/webhooks/telnyx")
async def webhook(request: Request) -> Response:
    body = await request.body()
    try:
        event = app.state.telnyx.webhooks.unwrap(body.decode(), headers=request.headers)
    except ValueError:
        return Response(status_code=401)
    # Some kinds come without the `data` wrapper that the SDK's types expect.
    payload = event.data and event.data.payload
    key = getattr(payload, "call_session_id", None) or "none"
    await app.state.producer.send_and_wait("telnyx.calls", value=body, key=key.encode())
    return Response()
