import type { SocketLike } from "@/lib/rpc/client";

/** A WebSocket whose other end is the test. */
export class ScriptedSocket implements SocketLike {
  static made: ScriptedSocket[] = [];

  readyState = 0;
  onopen: (() => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly sent: Record<string, unknown>[] = [];
  closedWith: number | undefined;
  readonly url: string;
  readonly protocols: string[];

  constructor(url: string, protocols: string[]) {
    this.url = url;
    this.protocols = protocols;
    ScriptedSocket.made.push(this);
  }

  static open = (url: string, protocols: string[]): SocketLike => new ScriptedSocket(url, protocols);

  /** The newest one. */
  static last(): ScriptedSocket {
    const last = ScriptedSocket.made[ScriptedSocket.made.length - 1];
    if (!last) throw new Error("no socket was opened");
    return last;
  }

  send(text: string): void {
    if (this.readyState !== 1) throw new Error("sent on a socket that is not open");
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }

  close(code?: number): void {
    this.closedWith = code ?? 1005;
    this.breaks(this.closedWith);
  }

  /** The server accepts. */
  accepts(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  /** The server sends a message. */
  says(message: unknown): void {
    this.onmessage?.({ data: typeof message === "string" ? message : JSON.stringify(message) });
  }

  answers(id: unknown, result: unknown): void {
    this.says({ jsonrpc: "2.0", id, result });
  }

  refuses(id: unknown, code: number, message: string, data?: unknown): void {
    this.says({ jsonrpc: "2.0", id, error: { code, message, ...(data !== undefined && { data }) } });
  }

  /** The connection ends from the server's side, or on the way. */
  breaks(code = 1006): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }
}
