import { describe, expect, it } from "vitest";
import { Failure } from "@/lib/failure";
import type { CallOptions } from "@/lib/rpc/client";
import type { TermAttachParams, TermAttachResult, TermOutputNote, TermStateNote } from "@/lib/rpc/methods.gen";
import { examples } from "@/testing/examples";
import type { TerminalApi, TerminalInfo } from "../api/terminals";
import { bytesOf, Session, type Screen } from "./session";
import { Terminals } from "./terminals";

const settle = () => new Promise((done) => setTimeout(done));
const unused = () => Promise.reject(new Failure("INTERNAL"));
const id = "018f3c2a-0000-7000-8000-000000000001";

function fakeScreen() {
  const log: string[] = [];
  let listener: (data: string) => void = () => undefined;
  const waiting: (() => void)[] = [];
  const screen: Screen = {
    write: (bytes, done) => {
      log.push(new TextDecoder().decode(bytes));
      waiting.push(done);
    },
    skipped: (count) => log.push(`[${count}]`),
    resize: (rows, cols) => log.push(`${rows}x${cols}`),
    fitting: () => ({ rows: 40, cols: 100 }),
    onData: (fn) => (listener = fn),
    focus: () => undefined,
    dispose: () => log.push("disposed"),
  };
  const painted = () => waiting.splice(0).forEach((done) => done());
  return { screen, log, painted, answer: (data: string) => listener(data) };
}

/** A session whose server, screen and clock are the test's. */
function scripted() {
  const attaches: { params: TermAttachParams; options: CallOptions<"term.attach">; resolve: (result: TermAttachResult) => void; reject: (failure: Failure) => void }[] = [];
  const acks: [unknown, number][] = [];
  const typed: string[] = [];
  const sizes: string[] = [];
  const timers: { work: () => void; ms: number }[] = [];
  const api: TerminalApi = {
    open: unused,
    attach: (params, options) => new Promise((resolve, reject) => attaches.push({ params, options, resolve, reject })),
    ack: async (call, seq) => acks.push([call, seq]),
    input: async (_project, _id, data) => typed.push(data),
    resize: async (_project, _id, rows, cols) => sizes.push(`${rows}x${cols}`),
    list: unused,
    kill: unused,
  };
  const shown = fakeScreen();
  const session = new Session(api, "p", { id, program: "shell", openedAt: 0, rows: 24, cols: 80 }, shown.screen, (work, ms) => {
    timers.push({ work, ms });
    return 0 as unknown as ReturnType<typeof setTimeout>;
  });
  void session.follow();
  const last = () => attaches[attaches.length - 1];
  const state = (note: Partial<TermStateNote>) => last()?.options.onNotification?.("term.state", { id: 7, rows: 24, cols: 80, seq: 0, end_seq: 0, lost_bytes: 0, ...note });
  const output = (seq: number, data: string, next = seq + data.length) => last()?.options.onNotification?.("term.output", { id: 7, seq, next_seq: next, data } as TermOutputNote);
  const tick = async () => {
    timers.splice(0).forEach(({ work }) => work());
    await settle();
  };
  return { session, attaches, acks, typed, sizes, timers, tick, state, output, last, ...shown };
}

const ended: TermAttachResult = { term_id: id, end: "exit", exit_code: 4, signal: null, next_seq: 5, lost_bytes: 0 };

describe("a terminal of the page", () => {
  it("asks for all there is at first, and after a lost connection for what comes after the last byte", async () => {
    const { session, attaches, log, tick, state, output, last } = scripted();
    expect(attaches[0]?.params).toEqual({ project: "p", term_id: id, window_bytes: 131_072 });
    expect(attaches[0]?.options.resumable).toBe(true);
    state({ seq: 10 });
    output(10, "hello");
    expect(session.view.get().state).toBe("live");
    last()?.reject(new Failure("CONNECTION_LOST"));
    await settle();
    expect(session.view.get().state).toBe("away");
    await tick();
    expect(attaches[1]?.params.after_seq).toBe(15);
    state({ seq: 15 });
    output(15, " again");
    output(15, " twice"); // seen before
    expect(log).toEqual(["hello", " again"]);
    expect(session.view.get().state).toBe("live");
  });

  it("waits longer and longer while the studio is away, and not at all after a word of it", async () => {
    const { timers, tick, last, state } = scripted();
    const waits: number[] = [];
    for (let n = 0; n < 7; n++) {
      last()?.reject(new Failure("OFFLINE"));
      await settle();
      waits.push(timers[timers.length - 1]?.ms ?? -1);
      await tick();
    }
    expect(waits).toEqual([250, 500, 1000, 2000, 4000, 5000, 5000]);
    state({});
    last()?.reject(new Failure("TIMED_OUT"));
    await settle();
    expect(timers[timers.length - 1]?.ms).toBe(250);
  });

  it("attaches again when its token ended, and stops at its own end", async () => {
    const { session, attaches, last, state, tick } = scripted();
    state({});
    last()?.resolve({ ...ended, end: "detached", exit_code: null });
    await settle();
    await tick();
    expect(attaches).toHaveLength(2);
    last()?.resolve(ended);
    await settle();
    expect(session.view.get()).toMatchObject({ state: "ended", result: { end: "exit", exit_code: 4 } });
    await tick();
    expect(attaches).toHaveLength(2);
  });

  it("is over when the server does not know it, and failed when it may not", async () => {
    const gone = scripted();
    gone.last()?.reject(new Failure("NOT_FOUND"));
    await settle();
    expect(gone.session.view.get()).toMatchObject({ state: "ended", result: null });
    const denied = scripted();
    denied.last()?.reject(new Failure("DENIED"));
    await settle();
    expect(denied.session.view.get()).toMatchObject({ state: "failed", failure: { name: "DENIED" } });
  });

  it("types nothing while a replay is painted: those questions were answered long ago", () => {
    const { answer, typed, painted, state, output } = scripted();
    state({ seq: 0, end_seq: 8 });
    output(0, "\u001b[c\u001b[6n", 7);
    answer("\u001b[?1;2c");
    painted();
    answer("\u001b[1;1R");
    expect(typed).toEqual([]);
    output(7, "$");
    painted();
    answer("ls\r");
    expect(typed).toEqual(["ls\r"]);
  });

  it("confirms what was painted, a quarter of its window at a time", () => {
    const { acks, painted, state, output } = scripted();
    state({ seq: 0 });
    output(0, "x".repeat(30_000));
    painted();
    expect(acks).toEqual([]);
    output(30_000, "x".repeat(30_000));
    expect(acks).toEqual([]); // come, but not painted
    painted();
    expect(acks).toEqual([[7, 60_000]]);
  });

  it("says how many bytes it missed, and goes on behind them", () => {
    const { session, log, state, output } = scripted();
    state({ seq: 0 });
    output(0, "begin");
    state({ seq: 500, lost_bytes: 495 });
    output(500, "end");
    expect(log).toEqual(["begin", "[495]", "end"]);
    expect(session.view.get().lostBytes).toBe(495);
  });

  it("tells its size once it rests, and follows that of somebody else", async () => {
    const { session, sizes, log, state, tick } = scripted();
    state({});
    session.fit();
    session.fit();
    await tick();
    expect(sizes).toEqual(["40x100"]);
    state({ rows: 10, cols: 20 });
    expect(log).toEqual(["40x100", "10x20"]);
  });

  it("lets go without ending anything", async () => {
    const { session, last, log, tick, attaches } = scripted();
    session.close();
    expect(last()?.options.signal?.aborted).toBe(true);
    last()?.reject(new Failure("CANCELLED"));
    await settle();
    await tick();
    expect(log).toEqual(["disposed"]);
    expect(attaches).toHaveLength(1);
  });

  it("reads text and bytes alike", () => {
    expect([...bytesOf({ data: "ä" })]).toEqual([0xc3, 0xa4]);
    expect([...bytesOf({ data: "/wD+", encoding: "base64" })]).toEqual([0xff, 0, 0xfe]);
  });
});

describe("the terminals of a project", () => {
  const info = (n: number, more: Partial<TerminalInfo> = {}): TerminalInfo => ({
    ...(examples().find((one) => one.file === "term.list.ok.json")?.response.result as { terminals: TerminalInfo[] }).terminals?.[0],
    term_id: `t${n}`, program: "shell", end: "running", busy: false, rows: 24, cols: 80, attached: 0, age_ms: 1000 * n, first_seq: 0, next_seq: 0, ...more,
  });

  function page(list: TerminalInfo[], remembered: string | null = null) {
    const killed: string[] = [];
    let kept = remembered;
    let failKill: Failure | null = null;
    const api: TerminalApi = {
      open: async (params) => ({ term_id: "new", program: params.program ?? "shell", rows: params.rows, cols: params.cols }),
      attach: () => new Promise(() => undefined),
      ack: unused,
      input: unused,
      resize: unused,
      list: async () => list,
      kill: async (_project, term) => {
        if (failKill) throw failKill;
        killed.push(term);
      },
    };
    const terminals = new Terminals(api, async () => fakeScreen().screen, { read: () => kept, write: (to) => (kept = to) }, () => 10_000);
    const tabs = () => terminals.state.get().list.map((one) => one.facts.id);
    return { terminals, killed, tabs, kept: () => kept, fail: (failure: Failure) => (failKill = failure) };
  }

  it("finds what is open there, the oldest first, and shows the one that was shown", async () => {
    const { terminals, tabs } = page([info(1), info(2), info(3)], "t2");
    await terminals.use("p");
    expect(tabs()).toEqual(["t3", "t2", "t1"]);
    expect(terminals.state.get()).toMatchObject({ shown: "t2", loading: false, failure: null });
    expect(terminals.state.get().list[0]?.facts.openedAt).toBe(7000);
  });

  it("opens one, as large as the one on show, and remembers it", async () => {
    const { terminals, tabs, kept } = page([info(1)]);
    await terminals.use("p");
    await terminals.open("python");
    expect(tabs()).toEqual(["t1", "new"]);
    expect(terminals.state.get().list[1]?.facts).toMatchObject({ program: "python", rows: 40, cols: 100 });
    expect([terminals.state.get().shown, kept()]).toEqual(["new", "new"]);
  });

  it("asks the server whether closing would end work", async () => {
    const { terminals } = page([info(1, { busy: true }), info(2)]);
    await terminals.use("p");
    expect(await terminals.isBusy("t1")).toBe(true);
    expect(await terminals.isBusy("t2")).toBe(false);
  });

  it("closes a tab and shows its neighbour; one that cannot be ended stays", async () => {
    const { terminals, tabs, killed, fail } = page([info(1), info(2), info(3)], "t2");
    await terminals.use("p");
    await terminals.close("t2");
    expect([killed, tabs(), terminals.state.get().shown]).toEqual([["t2"], ["t3", "t1"], "t1"]);
    fail(new Failure("OFFLINE"));
    await terminals.close("t1");
    expect(tabs()).toEqual(["t3", "t1"]);
    expect(terminals.state.get().failure?.name).toBe("OFFLINE");
    fail(new Failure("NOT_FOUND"));
    await terminals.close("t1");
    expect(tabs()).toEqual(["t3"]);
  });

  it("lets go of one project's terminals when another one is shown", async () => {
    const { terminals, tabs, killed } = page([info(1)]);
    await terminals.use("p");
    const [first] = terminals.state.get().list;
    await terminals.use("q");
    expect(terminals.state.get().project).toBe("q");
    expect(terminals.state.get().list[0]).not.toBe(first);
    expect([tabs(), killed]).toEqual([["t1"], []]);
  });
});
