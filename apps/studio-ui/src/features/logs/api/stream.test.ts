import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ScriptedSocket } from "@/testing/scriptedSocket";
import { openLogStream, type LogFrame } from "./stream";

beforeEach(() => {
  vi.useFakeTimers();
  ScriptedSocket.made = [];
});
afterEach(() => {
  vi.useRealTimers();
});

async function opened() {
  const frames: LogFrame[] = [];
  const states: string[] = [];
  const stream = openLogStream({
    url: "ws://studio.test/stream/logs",
    token: async () => "t",
    onFrame: (frame) => frames.push(frame),
    onState: (state) => states.push(state),
    openSocket: ScriptedSocket.open,
    random: () => 1,
  });
  await vi.advanceTimersByTimeAsync(0);
  return { stream, frames, states, socket: ScriptedSocket.last() };
}

describe("the log stream", () => {
  it("sends the token as a subprotocol", async () => {
    const { socket } = await opened();
    expect(socket.protocols).toEqual(["cds.logs.v1", "cds.bearer.t"]);
    expect(socket.url).toBe("ws://studio.test/stream/logs");
  });

  it("goes on behind the last line after a break", async () => {
    const { socket, frames, states } = await opened();
    socket.accepts();
    socket.says({ seq: 120, line: { msg: "a" } });
    socket.says({ seq: 250, line: { msg: "b" } });
    socket.breaks();
    await vi.advanceTimersByTimeAsync(500);
    expect(ScriptedSocket.last().url).toBe("ws://studio.test/stream/logs?after=250");
    expect(frames.map((frame) => frame.seq)).toEqual([120, 250]);
    expect(states).toEqual(["connecting", "open", "waiting", "connecting"]);
  });

  it("ignores what is no line", async () => {
    const { socket, frames } = await opened();
    socket.accepts();
    for (const noise of ["{", "null", '{"seq":"x","line":{}}', '{"seq":1,"line":null}']) socket.says(noise);
    expect(frames).toEqual([]);
  });

  it("stays closed after close", async () => {
    const { stream, socket } = await opened();
    socket.accepts();
    stream.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(ScriptedSocket.made).toHaveLength(1);
    expect(socket.closedWith).toBe(1000);
  });

  it("opens nothing when it was closed while the token was fetched", async () => {
    let give: (token: string) => void = () => undefined;
    const token = () => new Promise<string>((resolve) => (give = resolve));
    const stream = openLogStream({ url: "ws://studio.test/stream/logs", token, onFrame: () => undefined, onState: () => undefined, openSocket: ScriptedSocket.open });
    stream.close();
    give("t");
    await vi.advanceTimersByTimeAsync(0);
    expect(ScriptedSocket.made).toHaveLength(0);
  });
});
