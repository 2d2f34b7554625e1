"""What applications do with libraries that keep their data in redis: `frameworks.py PORT WHAT`. WHAT may be a phase before or behind a restart."""

import operator
import sys
import time

import redis

port = int(sys.argv[1])
url = f"redis://127.0.0.1:{port}/0"


def rq_enqueue():
    """RQ: jobs are put into queues, one of them fails, one depends on another."""
    from rq import Queue

    queue = Queue("work", connection=redis.from_url(url))
    jobs = [queue.enqueue(operator.add, number, 1, job_id=f"job-{number}") for number in range(50)]
    queue.enqueue(operator.truediv, 1, 0, job_id="fails")
    queue.enqueue(operator.mul, 6, 7, job_id="then", depends_on=jobs[0])
    assert len(queue) == 51


def rq_work():
    """And executed by a worker, of another life of the server perhaps."""
    from rq import Queue, SimpleWorker
    from rq.job import Job

    connection = redis.from_url(url)
    queue = Queue("work", connection=connection)
    assert len(queue) == 51
    assert SimpleWorker([queue], connection=connection).work(burst=True)
    results = [Job.fetch(f"job-{number}", connection=connection).return_value() for number in range(50)]
    assert results == [number + 1 for number in range(50)], results
    assert Job.fetch("then", connection=connection).return_value() == 42
    assert Job.fetch("fails", connection=connection).is_failed
    assert len(queue.failed_job_registry) == 1 and len(queue) == 0


def use_cache(cache):
    """The cache framework's own interface."""
    cache.clear()
    cache.set("a", {"b": [1, 2]}, 100)
    assert cache.get("a") == {"b": [1, 2]} and cache.get("missing", 7) == 7
    assert not cache.add("a", 1) and cache.add("c", 1)
    assert cache.incr("c") == 2 and cache.decr("c", 2) == 0
    cache.set_many({f"k{number}": number for number in range(300)}, 100)
    assert cache.get_many([f"k{number}" for number in range(300)])["k299"] == 299
    cache.delete_many([f"k{number}" for number in range(299)])
    assert cache.get("k0") is None and cache.get("k299") == 299
    assert cache.touch("a", 200) and cache.has_key("a") and "missing" not in cache
    cache.set("brief", 1, timeout=1)
    deadline = time.monotonic() + 20
    while cache.get("brief") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert cache.get_or_set("made", lambda: 5) == 5
    cache.set("version", 1, version=2)
    assert cache.get("version") is None and cache.incr_version("version", version=2) == 3


def django(backend):
    from django.conf import settings

    settings.configure(
        CACHES={"default": {"BACKEND": backend, "LOCATION": url}},
        INSTALLED_APPS=["django.contrib.sessions"],
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
    )
    import django

    django.setup()
    from django.contrib.sessions.backends.cache import SessionStore
    from django.core.cache import cache

    use_cache(cache)
    session = SessionStore()
    session["user"] = 42
    session.save()
    assert SessionStore(session.session_key)["user"] == 42
    session.flush()
    assert SessionStore(session.session_key).get("user") is None
    return cache


def django_cache():
    """Django's own backend."""
    django("django.core.cache.backends.redis.RedisCache")


def django_redis():
    """django-redis, with what it has beyond that."""
    cache = django("django_redis.cache.RedisCache")
    cache.set_many({f"page:{number}": number for number in range(50)})
    assert len(cache.keys("page:*")) == 50 and len(list(cache.iter_keys("page:*"))) == 50
    assert cache.delete_pattern("page:*") == 50 and cache.keys("page:*") == []
    cache.set("a", 1, timeout=None)
    assert cache.ttl("a") is None and cache.expire("a", 100) and 90 < cache.ttl("a") <= 100
    assert cache.persist("a") and cache.ttl("a") is None


def flask_caching():
    """Flask-Caching: views and functions that are remembered."""
    from flask import Flask
    from flask_caching import Cache

    app = Flask(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url, "CACHE_DEFAULT_TIMEOUT": 100})
    calls = []

    @app.route("/page")
    @cache.cached(query_string=True)
    def page():
        calls.append("page")
        return f"page {len(calls)}"

    @cache.memoize()
    def square(number):
        calls.append(number)
        return number * number

    with app.app_context():
        cache.clear()
        client = app.test_client()
        assert client.get("/page?a=1").data == client.get("/page?a=1").data == b"page 1"
        assert client.get("/page?a=2").data == b"page 2"
        assert square(4) == square(4) == 16 and calls == ["page", "page", 4]
        cache.delete_memoized(square, 4)
        assert square(4) == 16 and calls[-2:] == [4, 4]
        assert all(cache.set_many({"x": 1, "y": 2})) and cache.get_many("x", "y") == [1, 2]
        assert cache.add("x", 5) is False and cache.delete_many("x", "y") and cache.get("x") is None
        cache.clear()
        assert client.get("/page?a=1").data != b"page 1"


globals()[sys.argv[2]]()
print("done")
