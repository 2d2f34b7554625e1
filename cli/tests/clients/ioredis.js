// What applications do with ioredis. The port is the argument.

const assert = require("node:assert");
const Redis = require("ioredis");

const port = Number(process.argv[2]);

async function main() {
  const redis = new Redis(port, "127.0.0.1", { connectionName: "io", maxRetriesPerRequest: 1 });
  assert.equal(await redis.ping(), "PONG");
  assert.equal(await redis.flushall(), "OK");
  assert.equal(await redis.client("GETNAME"), "io");

  assert.equal(await redis.set("a", "1"), "OK");
  assert.equal(await redis.get("a"), "1");
  assert.equal(await redis.get("missing"), null);
  assert.equal(await redis.set("a", "2", "NX"), null);
  assert.equal(await redis.set("a", "2", "EX", 100, "GET"), "1");
  const ttl = await redis.ttl("a");
  assert.ok(ttl > 90 && ttl <= 100, String(ttl));
  assert.equal(await redis.persist("a"), 1);
  assert.equal(await redis.expire("a", 10, "XX"), 0);
  assert.equal(await redis.getdel("a"), "2");

  assert.equal(await redis.mset(Object.fromEntries([...Array(500).keys()].map((i) => [`k${i}`, i]))), "OK");
  assert.deepEqual(await redis.mget("k1", "missing", "k499"), ["1", null, "499"]);
  assert.equal(await redis.incrby("n", 42), 42);
  assert.equal(await redis.incrbyfloat("f", 1.5), "1.5");
  assert.equal(await redis.append("s", "hello"), 5);
  assert.equal(await redis.getrange("s", 0, 1), "he");

  const seen = new Set();
  for await (const keys of redis.scanStream({ match: "k*", count: 20 })) {
    keys.forEach((key) => seen.add(key));
  }
  assert.equal(seen.size, 500);

  const pipeline = redis.pipeline();
  for (let i = 0; i < 1000; i++) pipeline.set(`p${i}`, i).get(`p${i}`);
  const replies = await pipeline.exec();
  assert.equal(replies.length, 2000);
  assert.ok(replies.every(([error]) => error === null));
  assert.equal(replies[1999][1], "999");

  await assert.rejects(redis.incr("s"), /not an integer/);
  await assert.rejects(redis.call("NOSUCH"), /unknown command/);
  const blob = Buffer.from([0, 13, 10, 255]);
  await redis.set(blob, blob);
  assert.deepEqual(await redis.getBuffer(blob), blob);

  // many commands at once, no pipeline of its own.
  const all = await Promise.all([...Array(1000).keys()].map(() => redis.incr("many")));
  assert.equal(Math.max(...all), 1000);

  const other = new Redis(port, "127.0.0.1", { db: 3, enableAutoPipelining: true });
  assert.equal(await other.get("k1"), null);
  await Promise.all([...Array(100).keys()].map((i) => other.set(`x${i}`, i)));
  assert.equal(await other.dbsize(), 100);
  assert.match(await redis.info("server"), /redis_version/);
  await other.quit();
  assert.equal(await redis.quit(), "OK");
  console.log("done");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
