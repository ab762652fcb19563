// A plugin in a process of its own, in JavaScript; nothing but Node.js itself is needed.
//
// It serves two requests of the node, GET /health and POST /on-trigger. Whatever else callers ask the node's gateway for
// reaches it as well, like GET /hello here.

const http = require("node:http");

// Act on a timer event: take its tasks, say what became of each.
function onTrigger(event) {
  const tasks = event.payload.tasks.filter((task) => !task.invalid);
  console.log(`${event.name} at ${event.metadata.fire_time}: ${tasks.map((task) => task.task_id).join(", ")}`);
  return { task_results: tasks.map((task) => ({ task_id: task.task_id, status: 2, result: "done by Node.js" })) };
}

async function respond(request) {
  if (request.url === "/health") return [200, { status: "ok" }];
  if (request.url === "/hello") return [200, { message: `hello ${request.headers["x-forwarded-for"]}` }];
  if (request.url !== "/on-trigger" || request.method !== "POST") return [404, { message: "no such path" }];
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return [200, onTrigger(JSON.parse(Buffer.concat(chunks).toString()))];
}

const server = http.createServer(async (request, response) => {
  let status, value;
  try {
    [status, value] = await respond(request);
  } catch (error) {
    [status, value] = [500, { message: String(error) }]; // the event has failed
  }
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(value));
});

server.keepAliveTimeout = 60_000; // milliseconds; the node keeps its connections open
server.listen(9001, "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)).closeIdleConnections());
