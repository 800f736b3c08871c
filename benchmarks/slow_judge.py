"""A judge that takes its time, so that a clock can hit the moments in which samples are judged."""

import asyncio

from funreason.types import Sample, Verdict


async def slow(sample: Sample) -> Verdict:
    """Pass after 20 ms; say of a quarter of the answers something that is worth remembering."""
    await asyncio.sleep(0.02)
    told = "long" if len(sample.answer) % 4 == 0 else ""
    return Verdict("slow", "pass", told, sample.answer[:20] if told else "", judge="slow")
