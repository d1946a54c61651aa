import { toFailure, type Failure, type FailureName } from "@/lib/failure";
import type { TermAttachResult, TermOutputNote, TermStateNote } from "@/lib/rpc/methods.gen";
import { createStore, type Store } from "@/lib/store";
import type { Program, TerminalApi } from "../api/terminals";
import { InputQueue } from "./input";

/** What shows a terminal. The model knows no more of it, so that it is tested without a browser. */
export interface Screen {
  write(bytes: Uint8Array, done: () => void): void;
  /** Bytes are missing: whatever sequence was open is over. */
  skipped(count: number): void;
  resize(rows: number, cols: number): void;
  /** The size that fills its place; null while it has none. */
  fitting(): { rows: number; cols: number } | null;
  onData(listener: (data: string) => void): void;
  focus(): void;
  dispose(): void;
}

/** live: attached. away: the connection is gone, tried again by itself. ended: told by the server. failed: something to tell the user. */
export type SessionState = "connecting" | "live" | "away" | "ended" | "failed";

export interface SessionView {
  state: SessionState;
  /** How it ended; null also when the server no longer knows it. */
  result: TermAttachResult | null;
  failure: Failure | null;
  lostBytes: number;
}

export interface SessionFacts {
  id: string;
  program: Program;
  openedAt: number;
  rows: number;
  cols: number;
}

/** setTimeout, or a test's own. */
export type Later = (work: () => void, ms: number) => ReturnType<typeof setTimeout>;

/** The server keeps at most this much on its way; half a window is confirmed at once. */
const windowBytes = 131_072;
const ackBytes = 32_768;
const firstDelayMs = 250;
const longestDelayMs = 5_000;
const resizeMs = 120;
const sideMax = 1_000;
const final: readonly FailureName[] = ["DENIED", "BAD_PARAM", "NO_METHOD"];

/** One terminal of this page: follows its output across connections, types into it, keeps its size. */
export class Session {
  readonly view: Store<SessionView> = createStore<SessionView>({ state: "connecting", result: null, failure: null, lostBytes: 0 });
  readonly facts: SessionFacts;
  readonly screen: Screen;
  private readonly api: TerminalApi;
  readonly project: string;
  private readonly input: InputQueue;
  private readonly later: Later;
  private stopper: AbortController | null = null;
  private closed = false;
  /** Number of the next byte; null before the first word of the server. */
  private next: number | null = null;
  private shown = 0;
  private acked = 0;
  /** Up to here it is a replay for a new screen: programs asked their questions long ago, so the screen's answers go nowhere. */
  private replayUntil = 0;
  private attempt = 0;
  private size: { rows: number; cols: number };
  private resizeTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(api: TerminalApi, project: string, facts: SessionFacts, screen: Screen, later: Later = (work, ms) => setTimeout(work, ms)) {
    this.api = api;
    this.project = project;
    this.facts = facts;
    this.screen = screen;
    this.later = later;
    this.size = { rows: facts.rows, cols: facts.cols };
    this.input = new InputQueue(
      (data) => api.input(project, facts.id, data),
      (failure) => this.patch({ failure }),
      (work, ms) => void later(work, ms),
    );
    screen.onData((data) => this.type(data));
  }

  /** Attaches, and again whenever the connection was lost, until the terminal ends or this page lets go of it. */
  async follow(): Promise<void> {
    while (!this.closed) {
      this.stopper = new AbortController();
      try {
        const result = await this.api.attach(
          { project: this.project, term_id: this.facts.id, window_bytes: windowBytes, ...(this.next === null ? {} : { after_seq: this.next }) },
          { signal: this.stopper.signal, resumable: true, onNotification: (method, note) => this.receive(method, note) },
        );
        if (result.end !== "detached" && result.end !== "running") {
          this.end("ended", { result });
          return;
        }
      } catch (error) {
        const failure = toFailure(error);
        if (failure.name === "NOT_FOUND") {
          this.end("ended", {});
          return;
        }
        if (final.includes(failure.name)) {
          this.end("failed", { failure });
          return;
        }
      }
      if (this.closed) return;
      this.patch({ state: "away" });
      await new Promise<void>((done) => this.later(done, Math.min(longestDelayMs, firstDelayMs * 2 ** this.attempt++)));
    }
  }

  type(data: string): void {
    const { state } = this.view.get();
    if (this.shown < this.replayUntil || (state !== "live" && state !== "away")) return;
    if (this.view.get().failure) this.patch({ failure: null });
    this.input.type(data);
  }

  /** The place of the screen has changed; told to the server once it rests. */
  fit(): void {
    clearTimeout(this.resizeTimer);
    this.resizeTimer = this.later(() => {
      const fitting = this.screen.fitting();
      if (!fitting || this.closed || this.view.get().state !== "live") return;
      const rows = Math.max(1, Math.min(sideMax, fitting.rows));
      const cols = Math.max(1, Math.min(sideMax, fitting.cols));
      if (rows === this.size.rows && cols === this.size.cols) return;
      this.size = { rows, cols };
      this.screen.resize(rows, cols);
      void this.api.resize(this.project, this.facts.id, rows, cols).catch(() => undefined); // its end, or a connection that is away: both are told elsewhere
    }, resizeMs);
  }

  /** Lets go of it; on the server it goes on. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.resizeTimer);
    this.input.stop();
    this.stopper?.abort();
    this.screen.dispose();
  }

  private receive(method: "term.state" | "term.output", note: TermStateNote | TermOutputNote): void {
    if (this.closed) return;
    if (method === "term.state") this.receiveState(note as TermStateNote);
    else this.receiveOutput(note as TermOutputNote);
  }

  private receiveState(note: TermStateNote): void {
    if (this.next === null) {
      this.replayUntil = note.end_seq;
      this.next = this.shown = this.acked = note.seq;
    } else if (note.lost_bytes > 0) {
      this.next = note.seq;
      this.screen.skipped(note.lost_bytes);
      this.patch({ lostBytes: this.view.get().lostBytes + note.lost_bytes });
    }
    if (note.rows !== this.size.rows || note.cols !== this.size.cols) {
      this.size = { rows: note.rows, cols: note.cols };
      this.screen.resize(note.rows, note.cols);
    }
    if (this.view.get().state === "live") return;
    this.attempt = 0;
    this.patch({ state: "live", failure: null });
    this.fit();
  }

  private receiveOutput(note: TermOutputNote): void {
    if (this.next !== null && note.seq < this.next) return; // seen before
    this.next = note.next_seq;
    this.screen.write(bytesOf(note), () => {
      this.shown = note.next_seq;
      if (this.closed || this.shown < this.acked + ackBytes) return;
      this.acked = this.shown;
      void this.api.ack(note.id, this.shown).catch(() => undefined); // without a connection there is nothing to confirm
    });
  }

  private end(state: SessionState, part: Partial<SessionView>): void {
    this.input.stop();
    clearTimeout(this.resizeTimer);
    if (!this.closed) this.patch({ ...part, state });
  }

  private patch(part: Partial<SessionView>): void {
    this.view.set((now) => ({ ...now, ...part }));
  }
}

const encoder = new TextEncoder();

/** Bytes as the program wrote them: a character may be cut between two notes, and the screen puts it together. */
export function bytesOf(note: Pick<TermOutputNote, "data" | "encoding">): Uint8Array {
  return note.encoding === "base64" ? Uint8Array.from(atob(note.data), (char) => char.charCodeAt(0)) : encoder.encode(note.data);
}
