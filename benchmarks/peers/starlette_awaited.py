"""The asyncio peer: Starlette under uvicorn, and aiokafka; each request waits for its acknowledgement."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from aiokafka import AIOKafkaProducer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from daybook.settings import load_settings


class KeptConnection(HttpToolsProtocol):
    """Keep HTTP/1.0 connections open on request, as ApacheBench's need; plain uvicorn closes each.

    Games' clients speak HTTP/1.1, whose connections uvicorn keeps open. Without this the benchmark would measure the
    peer's handshakes.
    """

    def on_headers_complete(self) -> None:
        """Called by the parser; the request's task does not run before this returns."""
        super().on_headers_complete()
        self.cycle.keep_alive = self.parser.should_keep_alive()


@asynccontextmanager
async def _with_producer(app: Starlette) -> AsyncIterator[None]:
    async with AIOKafkaProducer(bootstrap_servers=load_settings().bootstrap_servers, acks="all") as producer:
        app.state.producer = producer
        yield


async def _purchase(request: Request) -> PlainTextResponse:
    item = request.path_params["item"]
    event = {"event_type": "purchase_item", "item": item, **dict(request.headers)}
    await request.app.state.producer.send_and_wait(load_settings().kafka_topic, json.dumps(event).encode())
    return PlainTextResponse(f"{item} Purchased!\n", headers={"Connection": "keep-alive"})


async def _live(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("live")


app = Starlette(routes=[Route("/purchase/{item}", _purchase), Route("/health/live", _live)], lifespan=_with_producer)


def main() -> None:
    """Serve until killed, with as many processes as the intake has workers."""
    module = "benchmarks.peers.starlette_awaited"
    uvicorn.run(
        f"{module}:app",
        host="127.0.0.1",
        port=load_settings().api_port,
        workers=load_settings().api_workers,
        http=f"{module}:KeptConnection",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
