"""What applications do with redis-py. The port is the argument."""

import sys
import threading
import time

import redis

port = int(sys.argv[1])

for protocol in (2, 3):
    r = redis.Redis(
        port=port, protocol=protocol, decode_responses=True, client_name=f"py{protocol}"
    )
    assert r.ping() is True
    assert r.flushall() is True
    assert r.client_getname() == f"py{protocol}"
    assert r.client_id() > 0
    assert isinstance(r.client_info(), dict)
    assert any(c["name"] == f"py{protocol}" for c in r.client_list())

    assert r.set("a", "1") is True
    assert r.get("a") == "1"
    assert r.get("missing") is None
    assert r.set("a", "2", nx=True) is None
    assert r.set("a", "2", xx=True, get=True) == "1"
    assert r.set("t", "x", ex=100) and 98 <= r.ttl("t") <= 100
    assert r.set("t", "y", keepttl=True) and r.ttl("t") > 0
    assert r.persist("t") and r.ttl("t") == -1
    assert r.ttl("missing") == -2
    assert r.pexpire("t", 100_000) and 98_000 <= r.pttl("t") <= 100_000
    assert r.expire("t", 10, gt=True) is False
    assert r.expireat("t", 4102444800) and r.expiretime("t") == 4102444800
    assert r.getex("t", persist=True) == "y"
    assert r.getdel("t") == "y" and not r.exists("t")

    assert r.mset({f"k{i}": i for i in range(1000)}) is True
    assert r.mget(["k1", "missing", "k999"]) == ["1", None, "999"]
    assert r.msetnx({"k1": 1, "new": 2}) is False
    assert r.incr("n") == 1 and r.incrby("n", 41) == 42 and r.decr("n") == 41
    assert r.incrbyfloat("f", 0.5) == 0.5
    assert r.append("s", "hello") == 5 and r.strlen("s") == 5
    assert r.getrange("s", 1, 3) == "ell" and r.setrange("s", 0, "J") == 5
    assert r.type("s") == "string"
    assert {k for k in r.scan_iter(match="k*", count=50)} == {f"k{i}" for i in range(1000)}
    assert sorted(r.keys("k99?")) == [f"k99{i}" for i in range(10)]
    assert r.randomkey() is not None
    assert r.unlink("k0", "k1") == 2 and r.delete("k2", "k2") == 1
    assert r.touch("k3", "k0") == 1
    assert r.dbsize() == len(r.keys())

    with r.pipeline(transaction=False) as pipe:
        for i in range(2000):
            pipe.set(f"p{i}", i)
            pipe.get(f"p{i}")
        replies = pipe.execute()
    assert replies[1::2] == [str(i) for i in range(2000)]

    with r.pipeline(transaction=False) as pipe:
        pipe.set("word", "abc").incr("word").get("word")
        replies = pipe.execute(raise_on_error=False)
    assert isinstance(replies[1], redis.ResponseError), replies
    assert replies[2] == "abc"

    with r.pipeline(transaction=True) as pipe:
        pipe.set("t1", "1").set("t2", "x").incr("t1").incr("t2").mget("t1", "t2")
        replies = pipe.execute(raise_on_error=False)
    assert replies[:3] == [True, True, 2] and replies[4] == ["2", "x"], replies
    assert isinstance(replies[3], redis.ResponseError), replies

    with r.pipeline() as pipe:
        pipe.watch("t1")
        balance = int(pipe.get("t1"))
        r.set("t1", "10")
        pipe.multi()
        pipe.set("t1", balance + 1)
        try:
            pipe.execute()
            raise AssertionError("a watched key has changed")
        except redis.WatchError:
            pass

    def one_more(pipe):
        value = int(pipe.get("t1"))
        pipe.multi()
        pipe.set("t1", value + 1)

    assert r.transaction(one_more, "t1") == [True]
    assert r.get("t1") == "11"

    waiting = redis.Redis(port=port, protocol=protocol, decode_responses=True)
    got = []
    thread = threading.Thread(target=lambda: got.append(waiting.blpop(["q1", "q2"], timeout=60)))
    thread.start()
    while r.info("clients")["blocked_clients"] == 0:
        time.sleep(0.01)
    assert r.rpush("q2", "x", "y") == 2
    thread.join(60)
    assert [list(pair) for pair in got] == [["q2", "x"]], got
    assert list(r.brpop("q2", timeout=1)) == ["q2", "y"]
    assert r.blpop("q2", timeout=0.01) is None
    r.rpush("q2", "x", "y")
    assert r.blmpop(0, 2, "q1", "q2", direction="RIGHT", count=5) == ["q2", ["y", "x"]]

    binary = redis.Redis(port=port, protocol=protocol)
    blob = bytes(range(256)) * 1000
    assert binary.set(b"\x00bin\xff", blob) and binary.get(b"\x00bin\xff") == blob

    other = redis.Redis(port=port, protocol=protocol, db=5, decode_responses=True)
    assert other.get("a") is None and other.set("only5", 1)
    assert r.get("only5") is None
    assert other.flushdb() is True and r.get("a") == "2"

    r.set("soon", 1, px=30)
    deadline = time.time() + 60
    while r.exists("soon"):
        assert time.time() < deadline
        time.sleep(0.01)

    assert r.config_get("maxclients")["maxclients"].isdigit()
    assert r.config_set("timeout", 0) is True
    info = r.info()
    assert "redis_version" in info and info["loading"] == 0
    assert r.info("keyspace")["db0"]["keys"] == r.dbsize()
    assert len(r.time()) == 2
    assert r.command_count() > 50
    assert r.command_getkeys("MSET", "a", 1, "b", 2) == ["a", "b"]
    try:
        r.execute_command("NOSUCH", "x")
        raise AssertionError("NOSUCH was accepted")
    except redis.ResponseError as error:
        assert "unknown command" in str(error)
    r.close()

pool = redis.ConnectionPool(port=port, max_connections=20)
clients = [redis.Redis(connection_pool=pool) for _ in range(20)]
for i, c in enumerate(clients):
    assert c.incr("pooled") == i + 1
print("done")
