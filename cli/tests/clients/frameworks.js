// What applications do with connect-redis and socket.io's adapters: `frameworks.js PORT WHAT`.

const assert = require("node:assert");
const http = require("node:http");
const { once } = require("node:events");
const { createClient } = require("redis");

const port = Number(process.argv[2]);
const url = `redis://127.0.0.1:${port}`;

async function connected() {
  const client = createClient({ url });
  client.on("error", (error) => {
    throw error;
  });
  await client.connect();
  return client;
}

const call = (store, method, ...args) =>
  new Promise((resolve, reject) => store[method](...args, (error, value) => (error ? reject(error) : resolve(value))));

async function sessions() {
  const session = require("express-session");
  const { RedisStore } = require("connect-redis");
  const client = await connected();
  await client.flushAll();
  const store = new RedisStore({ client, prefix: "app:", ttl: 100 });
  const cookie = { originalMaxAge: 100000 };
  for (let user = 0; user < 150; user++) await call(store, "set", `id${user}`, { cookie, user });
  assert.deepEqual(await call(store, "get", "id7"), { cookie, user: 7 });
  assert.equal(await call(store, "length"), 150);
  assert.equal((await call(store, "ids")).length, 150);
  assert.equal((await call(store, "all")).length, 150);
  await call(store, "touch", "id7", { cookie, user: 7 });
  assert.ok((await client.ttl("app:id7")) > 90);
  await call(store, "destroy", "id7");
  assert.ok(!(await call(store, "get", "id7")));
  await call(store, "clear");
  assert.equal(await call(store, "length"), 0);

  // behind a server: the session is there at the second request
  const middleware = session({ store, secret: "s", resave: false, saveUninitialized: false });
  const server = http.createServer((request, response) =>
    middleware(request, response, () => {
      request.session.views = (request.session.views || 0) + 1;
      response.end(String(request.session.views));
    }),
  );
  await once(server.listen(0, "127.0.0.1"), "listening");
  const page = `http://127.0.0.1:${server.address().port}/`;
  const first = await fetch(page);
  assert.equal(await first.text(), "1");
  const again = await fetch(page, { headers: { cookie: first.headers.get("set-cookie").split(";")[0] } });
  assert.equal(await again.text(), "2");
  server.closeAllConnections();
  server.close();
  await client.close();
}

// two servers with a client each: what one emits to a room reaches the other's
async function rooms(adapter, clients) {
  const { Server } = require("socket.io");
  const { io: connect } = require("socket.io-client");
  const nodes = [];
  for (let i = 0; i < 2; i++) {
    const server = http.createServer();
    const io = new Server(server, { adapter: await adapter() });
    io.on("connection", (socket) => socket.on("join", (room, done) => Promise.resolve(socket.join(room)).then(done)));
    await once(server.listen(0, "127.0.0.1"), "listening");
    const client = connect(`http://127.0.0.1:${server.address().port}`, { transports: ["websocket"] });
    await once(client, "connect");
    await client.emitWithAck("join", "room");
    nodes.push({ io, client });
  }
  const deadline = Date.now() + 20000;
  // the adapters find each other first
  for (;;) {
    const sockets = await nodes[0].io.in("room").fetchSockets().catch(() => []);
    if (sockets.length === 2) break;
    assert.ok(Date.now() < deadline, `${sockets.length} of 2 sockets are seen`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  for (const from of [0, 1]) {
    const heard = Promise.all(nodes.map(({ client }) => once(client, "news")));
    nodes[from].io.to("room").emit("news", `from ${from}`);
    assert.deepEqual(await heard, [[`from ${from}`], [`from ${from}`]]);
  }
  const answers = nodes.map(({ io }) => once(io, "hello"));
  nodes[0].io.serverSideEmit("hello", "there");
  assert.deepEqual(await answers[1], ["there"]);
  nodes.forEach(({ client }) => client.close());
  await Promise.all(nodes.map(({ io }) => io.close()));
  for (const client of clients) client.destroy();
}

async function socketio() {
  const { createAdapter } = require("@socket.io/redis-adapter");
  const clients = [];
  await rooms(async () => {
    const [pub, sub] = [await connected(), await connected()];
    clients.push(pub, sub);
    return createAdapter(pub, sub);
  }, clients);
}

async function socketio_streams() {
  const { createAdapter } = require("@socket.io/redis-streams-adapter");
  const clients = [];
  await rooms(async () => {
    const client = await connected();
    clients.push(client);
    return createAdapter(client);
  }, clients);
}

const what = { sessions, socketio, socketio_streams };
what[process.argv[3]]().then(
  () => {
    console.log("done");
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
