/** The official TypeScript client, 1.x. Started as the Python drivers are; see scenarios.py for what it prints. */

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

const GREETING = "site://greeting";

// Of this process alone, so that others who use the same server change nothing here.
const WATCHED = `site://lines/${process.pid}`;
const LINE = "site://lines/7";
const NAME = { name: "Ada" };
const ROOT = "file:///home/ada";
const CALL_BEFORE_HARM = 20;
const QUIET_MS = 2_000;
const WAIT_MS = 20_000;

const seen = { progress: [], elicitations: [], samplings: [], logs: [], updated: [], transport_errors: [] };

function newClient() {
  const client = new Client(
    { name: "typescript", version: "1" },
    { capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } } },
  );
  client.setRequestHandler(ElicitRequestSchema, (request) => {
    seen.elicitations.push(request.params);
    return { action: "accept", content: NAME };
  });
  client.setRequestHandler(CreateMessageRequestSchema, (request) => {
    seen.samplings.push(request.params);
    return { role: "assistant", content: { type: "text", text: "Hello" }, model: "test", stopReason: "endTurn" };
  });
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: ROOT, name: "home" }] }));
  client.setNotificationHandler(LoggingMessageNotificationSchema, (message) => seen.logs.push(message.params.data));
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, (message) => seen.updated.push(message.params.uri));
  client.onerror = (error) => seen.transport_errors.push(String(error));
  return client;
}

const call = (client, name, args) =>
  client.callTool({ name, arguments: args }, undefined, {
    onprogress: ({ progress, total }) => seen.progress.push([progress, total ?? null]),
  });

async function tour(client, transport) {
  const saw = {
    initialize: {
      protocolVersion: transport.protocolVersion,
      serverInfo: client.getServerVersion(),
      capabilities: client.getServerCapabilities(),
    },
  };
  saw["tools/list"] = await outcome(client.listTools());
  saw["resources/list"] = await outcome(client.listResources());
  saw["resources/templates/list"] = await outcome(client.listResourceTemplates());
  saw["prompts/list"] = await outcome(client.listPrompts());

  saw["call"] = await outcome(call(client, "add", { a: 2, b: 3 }));
  saw["call with progress"] = await outcome(call(client, "count", { n: 5 }));
  saw["call with wrong arguments"] = await outcome(call(client, "add", { a: "two", b: 3 }));
  saw["call of an unknown tool"] = await outcome(call(client, "nonesuch", {}));
  saw["elicitation"] = await outcome(call(client, "ask", {}));
  saw["sampling"] = await outcome(call(client, "sample", { prompt: "Say hello" }));
  saw["roots"] = await outcome(call(client, "roots", {}));

  saw["read"] = await outcome(client.readResource({ uri: GREETING }));
  saw["read a template"] = await outcome(client.readResource({ uri: LINE }));
  saw["read an unknown resource"] = await outcome(client.readResource({ uri: "site://nowhere" }));
  saw["prompt"] = await outcome(client.getPrompt({ name: "greet", arguments: NAME }));
  const reference = { type: "ref/prompt", name: "greet" };
  saw["completion"] = await outcome(client.complete({ ref: reference, argument: { name: "name", value: "A" } }));

  saw["subscribe"] = await outcome(client.subscribeResource({ uri: WATCHED }));
  saw["touch"] = await outcome(call(client, "touch", { uri: WATCHED }));
  await until(() => seen.updated.length > 0);
  saw["unsubscribe"] = await outcome(client.unsubscribeResource({ uri: WATCHED }));
  await outcome(call(client, "touch", { uri: WATCHED }));
  // What comes after the second touch on the same stream shows that nothing came of it.
  await outcome(call(client, "announce", { n: 2 }));
  await until(() => seen.logs.length === 2);
  return saw;
}

async function refused(client) {
  const saw = { "call of an unknown tool": await outcome(call(client, "nonesuch", {})) };
  await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
  return saw;
}

async function interrupted(client, n) {
  const saw = { subscribe: await outcome(client.subscribeResource({ uri: WATCHED })) };
  const running = outcome(call(client, "count", { n, delay_ms: 20 }));
  await until(() => seen.progress.length >= CALL_BEFORE_HARM);
  say({ ready: true });
  saw["interrupted call"] = await running;
  saw["call"] = await outcome(call(client, "add", { a: 2, b: 3 }));
  saw["touch"] = await outcome(call(client, "touch", { uri: WATCHED }));
  await until(() => seen.updated.length > 0);
  return saw;
}

const SCENARIOS = {
  tour,
  refused,
  cut: (client) => interrupted(client, 150),
  killed: (client) => interrupted(client, 100_000),
};

async function outcome(step) {
  try {
    return await step;
  } catch (error) {
    // The client puts "MCP error <code>: " before the server's message.
    return { error: { code: error.code, message: error.message, data: error.data } };
  }
}

function say(fact) {
  process.stdout.write(`${JSON.stringify(fact)}\n`);
}

async function until(condition) {
  const deadline = Date.now() + WAIT_MS;
  while (!condition() && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const [scenario, url] = process.argv.slice(2);
const client = newClient();
const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
const saw = await SCENARIOS[scenario](client, transport);
await transport.terminateSession();
await client.close();
say({ ...saw, seen });
