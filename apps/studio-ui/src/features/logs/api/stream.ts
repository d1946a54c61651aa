import type { SocketLike } from "@/lib/rpc/client";

export type LogsConnection = "connecting" | "open" | "waiting";

/** One line as the server sends it: fields of lib/log/log.h, further ones as the process gave them. */
export interface LogFrame {
  seq: number;
  line: Record<string, unknown>;
}

export interface StreamOptions {
  url: string;
  token(rejected: boolean): Promise<string | null>;
  onFrame(frame: LogFrame): void;
  onState(state: LogsConnection): void;
  openSocket?: (url: string, protocols: string[]) => SocketLike;
  random?: () => number;
}

const firstDelayMs = 500;
const longestDelayMs = 10_000;

/** Reads /stream/logs until it is closed. After a break it goes on behind the last line, without gap or double. */
export function openLogStream(options: StreamOptions): { close(): void } {
  let socket: SocketLike | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let closed = false;
  let rejected = false;
  let attempt = 0;
  let after: number | null = null;

  const later = () => {
    const ceiling = Math.min(longestDelayMs, firstDelayMs * 2 ** attempt++);
    options.onState("waiting");
    timer = setTimeout(() => void connect(), ceiling / 2 + (ceiling / 2) * (options.random ?? Math.random)());
  };

  const receive = (data: unknown) => {
    try {
      const frame = JSON.parse(String(data)) as LogFrame;
      if (typeof frame.seq !== "number" || typeof frame.line !== "object" || frame.line === null) return;
      after = frame.seq;
      options.onFrame(frame);
    } catch {
      // Not JSON: there is no line in it.
    }
  };

  const connect = async () => {
    options.onState("connecting");
    const token = await options.token(rejected).catch(() => undefined);
    if (closed || token === null) return;
    if (token === undefined) {
      later();
      return;
    }
    const open = options.openSocket ?? ((url, protocols) => new WebSocket(url, protocols) as SocketLike);
    const made = (socket = open(after === null ? options.url : `${options.url}?after=${after}`, ["cds.logs.v1", `cds.bearer.${token}`]));
    rejected = true;
    made.onopen = () => {
      rejected = false;
      attempt = 0;
      options.onState("open");
    };
    made.onmessage = (event) => receive(event.data);
    made.onerror = () => undefined; // onclose follows
    made.onclose = () => {
      if (!closed) later();
    };
  };

  void connect();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      if (!socket) return;
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    },
  };
}
