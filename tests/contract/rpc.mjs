// tests/contract/rpc.mjs: a running studio, as the contract tests see it: one started for them, or the one that CDS_URL names.
/** {url, tokens: {admin, developer, viewer}, project, stop()}. CDS_ORIGIN: address of the page, when CDS_URL is that of the gateway itself. */
export async function openStack() {
  const env = process.env;
  if (!env.CDS_URL) return (await import("../support/stack.mjs")).startStack();
  const tokens = { admin: env.CDS_TOKEN_ADMIN, developer: env.CDS_TOKEN_DEVELOPER, viewer: env.CDS_TOKEN_VIEWER };
  for (const [role, token] of Object.entries(tokens)) if (!token) throw new Error(`CDS_URL is set, so CDS_TOKEN_${role.toUpperCase()} is needed, too`);
  if (!env.CDS_PROJECT) throw new Error("CDS_URL is set, so CDS_PROJECT (a project of the developer) is needed, too");
  return { url: env.CDS_URL.replace(/\/$/, ""), origin: env.CDS_ORIGIN, tokens, project: env.CDS_PROJECT, stop: async () => {} };
}

export class Client {
  constructor(stack) {
    this.stack = stack;
  }

  /** Sends a body as it is. @returns {status, text, json} */
  async post(body, { as = "developer", path = "/rpc", type = "application/json" } = {}) {
    const headers = { "Content-Type": type };
    if (as !== "none") headers.Authorization = `Bearer ${this.stack.tokens[as]}`;
    const answer = await fetch(this.stack.url + path, { method: "POST", headers, body, signal: AbortSignal.timeout(90_000) });
    const text = await answer.text();
    let json;
    try {
      json = text ? JSON.parse(text) : undefined;
    } catch {
      throw new Error(`HTTP ${answer.status}: not JSON: ${text.slice(0, 300)}`);
    }
    return { status: answer.status, headers: answer.headers, text, json };
  }

  /** An open WebSocket of that role. */
  async socket(as = "developer") {
    const { default: WebSocket } = await import("ws");
    const { stack } = this;
    const socket = new WebSocket(`${stack.url.replace(/^http/, "ws")}/ws`, ["cds.rpc.v1", `cds.bearer.${stack.tokens[as]}`], { origin: stack.origin ?? stack.url });
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return socket;
  }

  send(message, options) {
    return this.post(JSON.stringify(message), options);
  }

  /** A call that must succeed. @returns its result */
  async call(method, params = {}, as = "developer") {
    const { json } = await this.send({ jsonrpc: "2.0", id: 1, method, params }, { as });
    if (json?.error) throw new Error(`${method} as ${as}: ${json.error.message}`);
    return json.result;
  }

  /** Somebody new, with a session of their own: the caller "user" from now on; the caller "key" is an API key of theirs. */
  async person(unique) {
    const email = `u${unique}@example.invalid`;
    const password = `Tall-Copper-Kettles-${unique}`;
    const { user_id: id, link } = await this.call("user.invite", { email, role: "developer" }, "admin");
    const { json } = await this.post(JSON.stringify({ token: link.split("#token=")[1], password }), { as: "none", path: "/auth/invite" });
    this.stack.tokens.user = json.access_token;
    const { sid } = JSON.parse(Buffer.from(json.access_token.split(".")[1], "base64url").toString());
    const { key_id: key, key: secret } = await this.call("key.create", { name: unique }, "user");
    this.stack.tokens.key = secret;
    return { KEY: key, USER: id, USERMAIL: email, PASSWORD: password, SESSION: sid };
  }

  /** What the placeholders of the examples stand for, but for $UNIQUE and those of person(). */
  async values() {
    await this.stack.waitModel?.(); // a studio is ready before its model is
    const { email } = await this.call("user.self");
    const { models } = await this.call("llm.list_models");
    const model = models.find((m) => m.state === "loaded") ?? models[0];
    if (!model) throw new Error("the studio knows no model; the examples of llm.* need the default model");
    const [own] = (await this.call("project.list", {}, "admin")).projects;
    const { user_id: admin } = await this.call("user.self", {}, "admin");
    return { ADMIN: admin, PROJECT: this.stack.project, ADMINPROJECT: own.id, EMAIL: email, MODEL: model.id };
  }
}
