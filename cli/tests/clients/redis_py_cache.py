"""Client-side caching by redis-py. The port is the argument."""

import sys
import threading
import time

import redis
from redis.cache import CacheConfig

port = int(sys.argv[1])

# it asks which redis a server is; for 7.2's commands that is 7.2
redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "7.2.0"


def caching():
    return redis.Redis(
        port=port, protocol=3, decode_responses=True, cache_config=CacheConfig(max_size=1000)
    )


writer = redis.Redis(port=port, protocol=3, decode_responses=True)
readers = [caching() for _ in range(4)]

writer.mset({f"k{i}": "0" for i in range(50)})
writer.hset("h", mapping={"f": "0"})
for reader in readers:
    for i in range(50):
        assert reader.get(f"k{i}") == "0"
    assert reader.hget("h", "f") == "0"
    assert reader.get_cache().size >= 51


def eventually(what, wanted):
    deadline = time.time() + 30
    while not wanted():
        assert time.time() < deadline, what
        time.sleep(0.01)


# what is kept is not asked for again
calls = lambda: writer.info("commandstats")["cmdstat_get"]["calls"]
before = calls()
for reader in readers:
    for i in range(50):
        assert reader.get(f"k{i}") == "0"
assert calls() == before, (before, calls())

# and is forgotten when it changes
for i in range(50):
    writer.set(f"k{i}", "1")
writer.hset("h", "f", "1")
for reader in readers:
    for i in range(50):
        eventually(f"k{i} is new", lambda: reader.get(f"k{i}") == "1")
    eventually("the hash is new", lambda: reader.hget("h", "f") == "1")

writer.flushall()
for reader in readers:
    eventually("all is gone", lambda: reader.get("k1") is None and reader.hget("h", "f") is None)

# readers beside writers: in the end all agree
over = threading.Event()


def write(number):
    mine = redis.Redis(port=port, protocol=3)
    i = 0
    while not over.is_set():
        i += 1
        mine.mset({f"k{i % 20}": f"{number}:{i}", f"k{(i * 7) % 20}": f"{number}:{i}"})
        mine.set(f"k{(i * 3) % 20}", f"{number}:{i}")


def read(reader):
    i = 0
    while not over.is_set():
        i += 1
        reader.get(f"k{i % 20}")


threads = [threading.Thread(target=write, args=(i,)) for i in range(2)]
threads += [threading.Thread(target=read, args=(reader,)) for reader in readers]
for thread in threads:
    thread.start()
time.sleep(2)
over.set()
for thread in threads:
    thread.join()
for i in range(20):
    there = writer.get(f"k{i}")
    for reader in readers:
        eventually(f"k{i} is {there}", lambda: reader.get(f"k{i}") == there)
print("done")
