// Hubs, providers and participants for the stories: the real binary on free ports.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const PATIENCE = 30000;
const running = new Set();

/** Starts gambi and waits until it is ready. Resolves to the data of that event. */
export function start(gambi, args, ready) {
  const child = spawn(gambi, [...args, "--format", "ndjson"], { stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  let said = "";
  child.stderr.on("data", (text) => (said += text));
  return new Promise((resolve, reject) => {
    child.once("exit", () => {
      running.delete(child);
      reject(new Error(`gambi ${args.join(" ")} ended before ${ready}: ${said}`));
    });
    createInterface({ input: child.stdout }).on("line", (line) => {
      const event = JSON.parse(line);
      if (event.type === ready) resolve({ child, data: event.data });
    });
  });
}

export async function stop(child, signal = "SIGKILL") {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}

export const stopAll = () => Promise.all([...running].map((child) => stop(child)));

/** A hub, and helpers to call it. */
export class Hub {
  static async start(gambi, ...args) {
    const hub = new Hub();
    hub.gambi = gambi;
    const port = args.includes("--port") ? [] : ["--port", "0"];
    const { child, data } = await start(gambi, ["hub", "serve", "--host", "127.0.0.1", ...port, ...args], "started");
    Object.assign(hub, { child, url: data.hubUrl, port: data.port, headers: {} });
    return hub;
  }

  async ask(method, path, body) {
    const headers = { ...this.headers, "Content-Type": "application/json" };
    const response = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
    return answer.data;
  }

  /** Registers a participant that never opens its tunnel. */
  register(room, id, more = {}) {
    const body = { nickname: id, model: "m", endpoint: "http://localhost:1", ...more };
    return this.ask("PUT", `/v1/rooms/${room}/participants/${encodeURIComponent(id)}`, body);
  }

  /** Joins with a participant of the echo provider. */
  async join(room, id, provider, ...args) {
    const where = [
      "--hub",
      this.url,
      "--room",
      room,
      "--participant-id",
      id,
      "--model",
      "echo",
      "--endpoint",
      provider,
    ];
    return (await start(this.gambi, ["participant", "join", ...where, ...args], "tunnel_connected")).child;
  }
}

export const startProvider = (gambi, delay = 0, port = 0) =>
  start(gambi, ["provider", "--port", String(port), "--delay", String(delay)], "started");

export const provider = async (gambi, delay) => (await startProvider(gambi, delay)).data.url;

/** Waits until a condition holds. */
export async function until(what, holds) {
  const deadline = Date.now() + PATIENCE;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Shows one of a room's views. */
export const view = (page, what) => page.locator("#views").getByRole("button", { name: what }).click();
