import { toFailure, type Failure } from "@/lib/failure";
import type { CallOptions } from "@/lib/rpc/client";
import type { RunExecParams, RunExecResult } from "@/lib/rpc/methods.gen";
import { createStore, type Store } from "@/lib/store";
import { OutputBuffer, type OutputView } from "./output";

/** One run with its exact inputs. */
export interface Run {
  id: number;
  params: RunExecParams;
  startedAt: number;
  /** The server's id, once it has started. */
  runId: string | null;
  state: "running" | "stopping" | "ended";
  output: OutputView;
  result: RunExecResult | null;
  failure: Failure | null;
}

export interface RunsState {
  /** Newest first. */
  list: readonly Run[];
  shown: number | null;
}

export type Exec = (params: RunExecParams, options: CallOptions<"run.exec">) => Promise<RunExecResult>;

const keptRuns = 20;

export const nameOfRun = ({ params }: Run): string => params.path ?? params.language ?? params.engine ?? "run";

/** The runs of this page. One at a time; output is handed on once per painted frame. */
export class Runs {
  readonly state: Store<RunsState> = createStore<RunsState>({ list: [], shown: null });
  private readonly exec: Exec;
  private readonly frame: (paint: () => void) => void;
  private stopper: AbortController | null = null;
  private lastId = 0;

  constructor(exec: Exec, frame: (paint: () => void) => void = (paint) => void requestAnimationFrame(paint)) {
    this.exec = exec;
    this.frame = frame;
  }

  running(): boolean {
    return this.state.get().list.some((run) => run.state !== "ended");
  }

  async start(params: RunExecParams): Promise<void> {
    if (this.running()) return;
    const id = ++this.lastId;
    const output = new OutputBuffer();
    const stopper = (this.stopper = new AbortController());
    const run: Run = { id, params, startedAt: Date.now(), runId: null, state: "running", output: output.view(), result: null, failure: null };
    this.state.set((now) => ({ list: [run, ...now.list].slice(0, keptRuns), shown: id }));
    let waiting = false;
    const paint = () => {
      waiting = false;
      this.patch(id, { output: output.view() });
    };
    const onNotification: CallOptions<"run.exec">["onNotification"] = (_method, note) => {
      if (!("stream" in note)) {
        this.patch(id, { runId: note.run_id });
        return;
      }
      output.add(note);
      if (waiting) return;
      waiting = true;
      this.frame(paint);
    };
    try {
      const result = await this.exec(params, { signal: stopper.signal, onNotification });
      this.patch(id, { state: "ended", result, output: output.view() });
    } catch (error) {
      this.patch(id, { state: "ended", failure: toFailure(error), output: output.view() });
    }
  }

  again(run: Run): void {
    void this.start(run.params);
  }

  stop(): void {
    const run = this.state.get().list.find((one) => one.state === "running");
    if (!run) return;
    this.patch(run.id, { state: "stopping" });
    this.stopper?.abort();
  }

  show(id: number): void {
    this.state.set((now) => ({ ...now, shown: id }));
  }

  forget(): void {
    this.stopper?.abort();
    this.state.set({ list: [], shown: null });
  }

  private patch(id: number, part: Partial<Run>): void {
    this.state.set((now) => ({ ...now, list: now.list.map((run) => (run.id === id ? { ...run, ...part } : run)) }));
  }
}
