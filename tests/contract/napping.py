"""A user's module that took ``sleep`` out of ``time`` before any harness was open."""

from __future__ import annotations

from asyncio import sleep as asyncio_sleep
from time import sleep


def nap(seconds):
    sleep(seconds)


async def async_nap(seconds):
    await asyncio_sleep(seconds)
