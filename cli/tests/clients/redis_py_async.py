"""What applications do with redis-py's asyncio client. The port is the argument."""

import asyncio
import sys

import redis.asyncio as redis

port = int(sys.argv[1])


async def main():
    async with redis.Redis(port=port, protocol=3, decode_responses=True) as client:
        assert await client.ping()
        await client.flushall()
        assert await client.set("a", "1", ex=100) and await client.get("a") == "1"
        assert 90 < await client.ttl("a") <= 100

        # many at once, each on a connection of the pool
        await asyncio.gather(*(client.incr("n") for _ in range(50)))
        assert await client.get("n") == "50"

        async with client.pipeline(transaction=True) as pipe:
            await pipe.watch("n")
            number = int(await pipe.get("n"))
            pipe.multi()
            pipe.set("n", number + 1)
            pipe.hset("h", mapping={"f": "1", "g": "2"})
            assert await pipe.execute() == [True, 2]
        assert await client.hgetall("h") == {"f": "1", "g": "2"}

        seen = set()
        await client.mset({f"k{i}": i for i in range(500)})
        async for key in client.scan_iter("k*"):
            seen.add(key)
        assert len(seen) == 500

        # one waits, another one pushes
        waiting = asyncio.create_task(client.blpop(["queue"], timeout=20))
        await asyncio.sleep(0.05)
        await client.rpush("queue", "job")
        assert tuple(await waiting) == ("queue", "job")

        async with client.pubsub() as pubsub:
            await pubsub.subscribe("news")
            assert (await pubsub.get_message(timeout=20))["type"] == "subscribe"
            await client.publish("news", "hello")
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=20)
            assert message["data"] == "hello", message

        await client.xgroup_create("stream", "group", id="0", mkstream=True)
        await client.xadd("stream", {"job": "1"})
        read = await client.xreadgroup("group", "me", {"stream": ">"}, count=1)
        assert read and await client.xlen("stream") == 1


asyncio.run(main())
print("done")
