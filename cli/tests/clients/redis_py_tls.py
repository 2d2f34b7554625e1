"""redis-py over TLS. The arguments are port, authority, certificate and key."""

import sys

import redis

port, ca, cert, key = int(sys.argv[1]), *sys.argv[2:5]

for protocol in (2, 3):
    r = redis.Redis(
        host="localhost",
        port=port,
        protocol=protocol,
        ssl=True,
        ssl_ca_certs=ca,
        ssl_certfile=cert,
        ssl_keyfile=key,
        decode_responses=True,
    )
    assert r.ping() is True
    value = "x" * 3_000_000
    assert r.set("large", value) and r.get("large") == value
    with r.pipeline(transaction=True) as p:
        for i in range(1000):
            p.set(f"k{i}", i)
            p.get(f"k{i}")
        assert p.execute()[1::2] == [str(i) for i in range(1000)]
    listener = r.pubsub()
    listener.subscribe("news")
    assert listener.get_message(timeout=10)["type"] == "subscribe"
    assert r.publish("news", "hello") == 1
    assert listener.get_message(timeout=10)["data"] == "hello"
    listener.close()
    r.close()

plain = redis.Redis(host="localhost", port=port, socket_timeout=20)
try:
    plain.ping()
    raise SystemExit("a plain client was answered")
except redis.exceptions.RedisError:
    pass
print("done")
