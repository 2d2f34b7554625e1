"""redis-py's listeners, in both protocols, sync and asyncio, on several connections."""

import asyncio
import sys

import redis
import redis.asyncio

PORT = int(sys.argv[1])


def messages(listener, count):
    got = []
    while len(got) < count:
        message = listener.get_message(ignore_subscribe_messages=True, timeout=30)
        if message is not None:
            got.append((message["type"], message["channel"], message["data"]))
    return got


for protocol in (2, 3):
    client = redis.Redis(port=PORT, protocol=protocol, decode_responses=True)
    listeners = [client.pubsub() for _ in range(4)]
    for listener in listeners:
        listener.subscribe("news", "other")
        listener.psubscribe("n*")
        listener.ssubscribe("shard")
        for _ in range(4):
            while listener.get_message(timeout=30) is None:
                pass
    assert client.pubsub_numsub("news") == [("news", 4)], client.pubsub_numsub("news")
    assert client.pubsub_numpat() == 1
    assert sorted(client.pubsub_channels()) == ["news", "other"]
    assert client.publish("news", "hello") == 8
    assert client.publish("other", "hello") == 4
    assert client.execute_command("SPUBLISH", "shard", "hello") == 4
    for listener in listeners:
        got = messages(listener, 4)
        want = [("message", "news"), ("pmessage", "news"), ("message", "other"), ("smessage", "shard")]
        assert sorted(got) == sorted((kind, channel, "hello") for kind, channel in want), got
        listener.unsubscribe()
        listener.punsubscribe()
        listener.sunsubscribe()
        listener.close()
    client.close()


async def talk():
    client = redis.asyncio.Redis(port=PORT, decode_responses=True)
    async with client.pubsub() as listener:
        await listener.subscribe("async")
        while await listener.get_message(timeout=30) is None:
            pass
        assert await client.publish("async", "hello") == 1
        while True:
            message = await listener.get_message(ignore_subscribe_messages=True, timeout=30)
            if message is not None:
                assert message["data"] == "hello", message
                break
    await client.aclose()


asyncio.run(talk())
print("done")
