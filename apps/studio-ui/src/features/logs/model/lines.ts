import { createStore, type Store } from "@/lib/store";
import type { LogFrame } from "../api/stream";

export const levels = ["debug", "info", "warn", "error"] as const;
export type Level = (typeof levels)[number];

export interface LogLine {
  seq: number;
  time: Date | null;
  level: Level;
  process: string;
  message: string;
  requestId: string;
  /** The other fields, as text. */
  rest: string;
  /** All of it in lower case, for the search. */
  haystack: string;
  raw: Record<string, unknown>;
}

const text = (value: unknown): string => (typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value));

export function toLine({ seq, line }: LogFrame): LogLine {
  const { ts, level, proc, msg, request_id, ...others } = line;
  const rest = Object.entries(others)
    .map(([name, value]) => `${name}=${text(value)}`)
    .join(" ");
  const time = typeof ts === "string" ? new Date(ts) : null;
  const made = {
    seq,
    time: time && !Number.isNaN(time.getTime()) ? time : null,
    level: levels.find((one) => one === level) ?? "info",
    process: text(proc),
    message: text(msg),
    requestId: text(request_id),
    rest,
    raw: line,
  };
  return { ...made, haystack: `${made.process} ${made.message} ${made.requestId} ${rest}`.toLowerCase() };
}

export interface LinesState {
  lines: readonly LogLine[];
  /** Lines that came while paused. */
  held: readonly LogLine[];
  paused: boolean;
  /** Whether older lines had to go. */
  cut: boolean;
}

export const keptLines = 2000;

/** The newest log lines. They are handed on once per painted frame, and not at all while paused. */
export class Lines {
  readonly state: Store<LinesState> = createStore<LinesState>({ lines: [], held: [], paused: false, cut: false });
  private due: LogLine[] = [];
  private readonly frame: (paint: () => void) => void;

  constructor(frame: (paint: () => void) => void = (paint) => void requestAnimationFrame(paint)) {
    this.frame = frame;
  }

  add(frame: LogFrame): void {
    this.due.push(toLine(frame));
    // A hidden tab paints nothing, so what waits for it has a ceiling too.
    if (this.due.length > keptLines) this.due = this.due.slice(-keptLines);
    if (this.due.length === 1) this.frame(() => this.flush());
  }

  pause(): void {
    this.state.set((now) => ({ ...now, paused: true }));
  }

  resume(): void {
    this.state.set((now) => ({ ...this.joined(now, now.held), held: [], paused: false }));
  }

  clear(): void {
    this.state.set((now) => ({ ...now, lines: [], held: [], cut: false }));
  }

  private flush(): void {
    const due = this.due;
    this.due = [];
    this.state.set((now) => (now.paused ? { ...now, held: [...now.held, ...due].slice(-keptLines) } : this.joined(now, due)));
  }

  private joined(now: LinesState, more: readonly LogLine[]): LinesState {
    const all = [...now.lines, ...more];
    return { ...now, lines: all.slice(-keptLines), cut: now.cut || all.length > keptLines };
  }
}

/** Lines of at least this level that hold every word of the filter. */
export function filtered(lines: readonly LogLine[], least: Level, filter: string): readonly LogLine[] {
  const from = levels.indexOf(least);
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (from === 0 && words.length === 0) return lines;
  return lines.filter((line) => levels.indexOf(line.level) >= from && words.every((word) => line.haystack.includes(word)));
}
