import { Failure, failureOfRpc } from "@/lib/failure";
import { createStore, type Store } from "@/lib/store";
import { methodInfo, type MethodName, type Methods, type NotificationName, type Notifications } from "./methods.gen";

/** The part of WebSocket that is used, so that tests can script one. */
export interface SocketLike {
  readyState: number;
  onopen: (() => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: (() => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** idle: signed out. waiting: the connection is away and will be tried again by itself. */
export type ConnectionState = "idle" | "connecting" | "open" | "waiting";

export interface RpcOptions {
  url: string;
  /** A valid access token, or null when nobody is signed in. rejected: the last one did not get the socket open. */
  token(rejected: boolean): Promise<string | null>;
  /** The gateway ended the socket because this token no longer holds: it is of no use any more, whatever its age. */
  onVoid?: () => void;
  /** The role of the signed-in user is another one now; open calls go on with it. */
  onRole?: (role: string) => void;
  openSocket?: (url: string, protocols: string[]) => SocketLike;
  random?: () => number;
}

export interface CallOptions<M extends MethodName> {
  signal?: AbortSignal;
  deadlineMs?: number;
  /** It has no end of its own and its owner asks again: it keeps no old connection alive, and fails with CONNECTION_LOST when that is left. */
  resumable?: boolean;
  onNotification?: (method: Methods[M]["notifications"], params: Notifications[Methods[M]["notifications"] & NotificationName]) => void;
}

interface Pending {
  text: string;
  sent: boolean;
  resumable: boolean;
  deadline: ReturnType<typeof setTimeout>;
  unlisten: () => void;
  resolve(result: unknown): void;
  reject(failure: Failure): void;
  notify(method: string, params: unknown): void;
}

export const subprotocol = "cds.rpc.v1";
const openState = 1;
const expiredCode = 4001;
const voidCode = 4003;
/** One message of the gateway, bytes; a longer one would close the socket. */
const messageMaxChars = 1_900_000;
const pendingMax = 64;
const handshakeMs = 10_000;
const firstDelayMs = 250;
const longestDelayMs = 10_000;
/** How long a call waits for a connection that is away. */
const connectWaitMs = 8_000;
/** The server answers at its own deadline; this much later the page stops waiting for that answer. */
const deadlineGraceMs = 3_000;
const cancelGraceMs = 3_000;

/**
 * JSON-RPC 2.0 over one WebSocket. Calls made while the socket is away wait a while for it, calls under way fail when it breaks: whether
 * they had an effect is not known, so they are never sent twice.
 */
export class RpcClient {
  readonly state: Store<ConnectionState> = createStore<ConnectionState>("idle");
  private readonly options: RpcOptions;
  private readonly pending = new Map<number, Pending>();
  private socket: SocketLike | null = null;
  private wanted = false;
  private renewing = false;
  private rejected = false;
  private attempt = 0;
  private generation = 0;
  private lastId = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;

  constructor(options: RpcOptions) {
    this.options = options;
  }

  /** Connects and stays connected until stop. */
  start(): void {
    if (this.wanted) return;
    this.wanted = true;
    this.attempt = 0;
    this.rejected = false;
    void this.connect();
  }

  stop(): void {
    this.wanted = false;
    this.renewing = false;
    clearTimeout(this.retry);
    this.drop(1000);
    this.failAll(() => true, new Failure("CANCELLED", { detail: "You signed out before the answer came." }));
    this.state.set("idle");
  }

  /** A fresh token is there: change to a new socket as soon as no call is open, before the server ends the old one. */
  renew(): void {
    if (!this.wanted || !this.socket) return;
    this.renewing = true;
    this.renewWhenQuiet();
  }

  /** Tries again at once, for instance when the machine is back online. */
  poke(): void {
    if (!this.wanted || this.state.get() !== "waiting") return;
    clearTimeout(this.retry);
    this.attempt = 0;
    void this.connect();
  }

  call<M extends MethodName>(method: M, params: Methods[M]["params"], options: CallOptions<M> = {}): Promise<Methods[M]["result"]> {
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      const text = JSON.stringify({ jsonrpc: "2.0", id, method, params });
      const refusal = this.refusal(text, options.signal);
      if (refusal) {
        reject(refusal);
        return;
      }
      const onAbort = () => this.cancel(id);
      options.signal?.addEventListener("abort", onAbort, { once: true });
      const deadlineMs = (options.deadlineMs ?? methodInfo[method].deadlineMs) + deadlineGraceMs;
      this.pending.set(id, {
        text,
        sent: false,
        resumable: options.resumable ?? false,
        deadline: setTimeout(() => this.expire(id, method, deadlineMs), deadlineMs),
        unlisten: () => options.signal?.removeEventListener("abort", onAbort),
        resolve: resolve as (result: unknown) => void,
        reject,
        notify: (name, value) => options.onNotification?.(name as never, value as never),
      });
      this.sendOrWait(id);
    });
  }

  private refusal(text: string, signal?: AbortSignal): Failure | null {
    if (signal?.aborted) return new Failure("CANCELLED", { detail: "Cancelled before it was sent." });
    if (!this.wanted) return new Failure("UNAUTHENTICATED", { detail: "Nobody is signed in on this page." });
    if (text.length > messageMaxChars) return new Failure("TOO_LARGE", { detail: `This message has ${text.length} characters; at most ${messageMaxChars} can be sent.` });
    if (this.pending.size >= pendingMax) return new Failure("BUSY", { detail: `${pendingMax} calls are open already.` });
    return null;
  }

  private sendOrWait(id: number): void {
    const call = this.pending.get(id);
    if (!call) return;
    if (this.socket?.readyState === openState) {
      call.sent = true;
      this.socket.send(call.text);
      return;
    }
    setTimeout(() => {
      if (this.pending.get(id)?.sent === false) this.settle(id)?.reject(this.offline());
    }, connectWaitMs);
  }

  private offline(): Failure {
    return new Failure("OFFLINE", { detail: "The studio could not be reached, so nothing was sent." });
  }

  private settle(id: number): Pending | undefined {
    const call = this.pending.get(id);
    if (!call) return undefined;
    this.pending.delete(id);
    clearTimeout(call.deadline);
    call.unlisten();
    queueMicrotask(() => this.renewWhenQuiet());
    return call;
  }

  private expire(id: number, method: string, afterMs: number): void {
    const call = this.settle(id);
    if (call?.sent) this.tell("rpc.cancel", { id });
    call?.reject(new Failure("TIMED_OUT", { detail: `${method} gave no answer within ${Math.round(afterMs / 1000)} s.` }));
  }

  /** The cancelled call still gets its own answer; only when that stays away does the page give up by itself. */
  private cancel(id: number): void {
    const call = this.pending.get(id);
    if (!call) return;
    if (!call.sent) {
      this.settle(id)?.reject(new Failure("CANCELLED", { detail: "Cancelled before it was sent." }));
      return;
    }
    this.tell("rpc.cancel", { id });
    setTimeout(() => this.settle(id)?.reject(new Failure("CANCELLED", { detail: "Cancelled; the studio did not confirm it." })), cancelGraceMs);
  }

  /** A call whose answer nobody waits for. It has an id of its own, since billable calls refuse to come without. */
  private tell(method: MethodName, params: unknown): void {
    if (this.socket?.readyState === openState) this.socket.send(JSON.stringify({ jsonrpc: "2.0", id: ++this.lastId, method, params }));
  }

  private async connect(): Promise<void> {
    const generation = ++this.generation;
    this.state.set("connecting");
    const token = await this.options.token(this.rejected).catch(() => undefined);
    if (generation !== this.generation || !this.wanted) return;
    if (token === null) {
      this.stop();
      return;
    }
    if (token === undefined) {
      this.retryLater();
      return;
    }
    const open = this.options.openSocket ?? ((url, protocols) => new WebSocket(url, protocols) as SocketLike);
    this.listen(open(this.options.url, [subprotocol, `cds.bearer.${token}`]));
  }

  private listen(socket: SocketLike): void {
    this.socket = socket;
    let opened = false;
    const handshake = setTimeout(() => socket.close(), handshakeMs);
    socket.onopen = () => {
      clearTimeout(handshake);
      opened = true;
      this.rejected = false;
      this.attempt = 0;
      this.state.set("open");
      for (const [id, call] of this.pending) if (!call.sent) this.sendOrWait(id);
    };
    socket.onmessage = (event) => this.receive(event.data);
    socket.onerror = () => undefined; // onclose follows and has the facts
    socket.onclose = (event) => {
      clearTimeout(handshake);
      this.socket = null;
      this.rejected = !opened;
      this.failAll((call) => call.sent, new Failure("CONNECTION_LOST", { detail: "The connection broke before the answer came." }));
      if (!this.wanted) return;
      if (event.code === voidCode) this.options.onVoid?.();
      if (event.code === expiredCode || event.code === voidCode) void this.connect();
      else this.retryLater();
    };
  }

  private retryLater(): void {
    const ceiling = Math.min(longestDelayMs, firstDelayMs * 2 ** this.attempt++);
    const delay = ceiling / 2 + (ceiling / 2) * (this.options.random ?? Math.random)();
    this.state.set("waiting");
    clearTimeout(this.retry);
    this.retry = setTimeout(() => void this.connect(), delay);
  }

  private renewWhenQuiet(): void {
    if (!this.renewing || this.socket?.readyState !== openState) return;
    for (const call of this.pending.values()) if (!call.resumable) return;
    this.renewing = false;
    this.drop(1000);
    this.failAll((call) => call.sent, new Failure("CONNECTION_LOST", { detail: "The connection was changed for one with a fresh token." }));
    void this.connect();
  }

  /** Leaves the present socket behind; none of its events count any more. */
  private drop(code: number): void {
    const socket = this.socket;
    this.socket = null;
    this.generation++;
    if (!socket) return;
    socket.onopen = socket.onclose = socket.onmessage = null;
    socket.close(code);
  }

  private failAll(which: (call: Pending) => boolean, failure: Failure): void {
    for (const [id, call] of [...this.pending]) if (which(call)) this.settle(id)?.reject(failure);
  }

  private receive(data: unknown): void {
    let message: unknown;
    try {
      message = JSON.parse(String(data));
    } catch {
      return; // not JSON: nothing of it can belong to a call
    }
    for (const one of Array.isArray(message) ? message : [message]) this.receiveOne(one as Record<string, unknown> | null);
  }

  private receiveOne(message: Record<string, unknown> | null): void {
    if (!message || typeof message !== "object") return;
    if (typeof message["method"] === "string") {
      const params = message["params"] as { id?: unknown; role?: unknown } | undefined;
      if (message["method"] === "session.changed") {
        this.options.onRole?.(String(params?.role));
        return;
      }
      this.pending.get(Number(params?.id))?.notify(message["method"], params);
      return;
    }
    const error = message["error"] as { code: number; message: string; data?: unknown } | undefined;
    if (message["id"] === null && error) {
      // The server could not tell which call it refuses (too many open, for instance): the youngest one is the likely cause.
      const youngest = [...this.pending].filter(([, call]) => call.sent).pop();
      if (youngest) this.settle(youngest[0])?.reject(failureOfRpc(error));
      return;
    }
    const call = this.settle(Number(message["id"]));
    if (error) call?.reject(failureOfRpc(error));
    else if ("result" in message) call?.resolve(message["result"]);
    else call?.reject(new Failure("BAD_ANSWER", { detail: "The answer holds neither a result nor an error." }));
  }
}
