// What applications do with node-redis. The port is the argument.

const assert = require("node:assert");
const { createClient, WatchError } = require("redis");

const port = Number(process.argv[2]);

async function use(RESP) {
  const client = createClient({ socket: { port, host: "127.0.0.1" }, RESP, name: "node" });
  client.on("error", (error) => {
    throw error;
  });
  await client.connect();
  assert.equal(await client.ping(), "PONG");
  await client.flushAll();

  assert.equal(await client.set("a", "1", { EX: 100 }), "OK");
  assert.equal(await client.get("a"), "1");
  assert.equal(await client.set("a", "2", { NX: true }), null);
  assert.equal(await client.get("missing"), null);
  // what is sent in one turn goes in one pipeline
  const many = await Promise.all([...Array(500).keys()].map((i) => client.set(`k${i}`, String(i))));
  assert.ok(many.every((reply) => reply === "OK"));
  assert.deepEqual(await client.mGet(["k1", "missing", "k499"]), ["1", null, "499"]);

  assert.equal(await client.hSet("h", { f: "1", g: "2" }), 2);
  assert.deepEqual({ ...(await client.hGetAll("h")) }, { f: "1", g: "2" });
  await client.zAdd("z", [{ score: 1, value: "a" }, { score: 2.5, value: "b" }]);
  assert.deepEqual(await client.zRangeWithScores("z", 0, -1), [{ value: "a", score: 1 }, { value: "b", score: 2.5 }]);
  assert.deepEqual((await client.sAdd("s", ["x", "y"])) && [...(await client.sMembers("s"))].sort(), ["x", "y"]);

  const [set, got] = await client.multi().set("m", "1").get("m").exec();
  assert.deepEqual([set, got], ["OK", "1"]);
  const other = await client.duplicate().connect();
  await client.watch("m");
  await other.set("m", "2");
  await assert.rejects(client.multi().set("m", "3").exec(), WatchError);
  assert.equal(await client.get("m"), "2");

  let seen = 0;
  for await (const keys of client.scanIterator({ MATCH: "k*", COUNT: 50 })) seen += keys.length;
  assert.equal(seen, 500);

  const waiting = other.blPop("queue", 20);
  await client.rPush("queue", "job");
  assert.deepEqual({ ...(await waiting) }, { key: "queue", element: "job" });

  const listener = await client.duplicate().connect();
  const heard = new Promise((resolve) => listener.subscribe("news", (message) => resolve(message)).then(() => client.publish("news", "hello")));
  assert.equal(await heard, "hello");

  await client.xAdd("stream", "*", { job: "1" });
  assert.equal((await client.xRange("stream", "-", "+")).length, 1);
  await Promise.all([listener, other, client].map((each) => each.close()));
}

use(2).then(() => use(3)).then(() => console.log("done"));
