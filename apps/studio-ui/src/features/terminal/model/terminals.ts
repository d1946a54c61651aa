import { toFailure, type Failure } from "@/lib/failure";
import { createStore, type Store } from "@/lib/store";
import type { Program, TerminalApi, TerminalInfo } from "../api/terminals";
import { Session, type Screen, type SessionFacts } from "./session";

export interface TerminalsState {
  project: string | null;
  /** The oldest first, as their tabs stand. */
  list: readonly Session[];
  shown: string | null;
  loading: boolean;
  opening: boolean;
  failure: Failure | null;
}

const nothing: TerminalsState = { project: null, list: [], shown: null, loading: false, opening: false, failure: null };

/** The terminals of one project on this page. The server has the list: what is open there is found again after a reload. */
export class Terminals {
  readonly state: Store<TerminalsState> = createStore<TerminalsState>(nothing);

  constructor(
    private readonly api: TerminalApi,
    private readonly openScreen: () => Promise<Screen>,
    private readonly remember: { read(): string | null; write(id: string | null): void },
    private readonly now: () => number = Date.now,
  ) {}

  /** Shows the terminals of this project; those of another one are let go of. */
  async use(project: string): Promise<void> {
    const { project: before, loading, failure } = this.state.get();
    if (before === project && (loading || !failure)) return;
    this.forget();
    this.state.set({ ...nothing, project, loading: true });
    try {
      const found = await this.api.list(project);
      const facts = found.map((info) => factsOf(info, this.now())).reverse();
      const sessions = await Promise.all(facts.map((one) => this.session(project, one)));
      if (!this.present(project, sessions)) return;
      const wanted = this.remember.read();
      const shown = sessions.find(({ facts: { id } }) => id === wanted) ?? sessions[sessions.length - 1];
      this.state.set((now) => ({ ...now, loading: false, list: sessions, shown: shown?.facts.id ?? null }));
      for (const session of sessions) void session.follow();
    } catch (error) {
      if (this.state.get().project === project) this.state.set((now) => ({ ...now, loading: false, failure: toFailure(error) }));
    }
  }

  async open(program: Program): Promise<void> {
    const { project, opening, list, shown } = this.state.get();
    if (!project || opening) return;
    this.state.set((now) => ({ ...now, opening: true, failure: null }));
    try {
      // As large as the one that is shown, since it takes its place; the screen of the first one finds its size a moment later.
      const size = list.find((one) => one.facts.id === shown)?.screen.fitting() ?? { rows: 24, cols: 80 };
      const made = await this.api.open({ project, program, rows: Math.min(size.rows, 1000), cols: Math.min(size.cols, 1000) });
      const session = await this.session(project, { id: made.term_id, program: made.program, openedAt: this.now(), rows: made.rows, cols: made.cols });
      if (!this.present(project, [session])) return;
      this.state.set((now) => ({ ...now, opening: false, list: [...now.list, session] }));
      this.show(made.term_id);
      void session.follow();
    } catch (error) {
      if (this.state.get().project === project) this.state.set((now) => ({ ...now, opening: false, failure: toFailure(error) }));
    }
  }

  show(id: string): void {
    this.remember.write(id);
    this.state.set((now) => ({ ...now, shown: id }));
  }

  /** Would closing it end work? Asked of the server; where it cannot tell, the user is asked, too. */
  async isBusy(id: string): Promise<boolean> {
    const { project, list } = this.state.get();
    const session = list.find((one) => one.facts.id === id);
    if (!project || !session || session.view.get().state === "ended") return false;
    try {
      return (await this.api.list(project)).some((one) => one.term_id === id && one.busy);
    } catch {
      return true;
    }
  }

  /** Ends it on the server and takes its tab away. When the server cannot be reached the tab stays, since the terminal does. */
  async close(id: string): Promise<void> {
    const { project, list } = this.state.get();
    const session = list.find((one) => one.facts.id === id);
    if (!project || !session) return;
    if (session.view.get().state !== "ended") {
      try {
        await this.api.kill(project, id);
      } catch (error) {
        const failure = toFailure(error);
        if (failure.name !== "NOT_FOUND") {
          this.state.set((now) => ({ ...now, failure }));
          return;
        }
      }
    }
    session.close();
    this.state.set((now) => {
      const at = now.list.findIndex((one) => one.facts.id === id);
      const rest = now.list.filter((one) => one.facts.id !== id);
      const neighbour = rest[Math.min(at, rest.length - 1)]?.facts.id ?? null;
      return { ...now, list: rest, shown: now.shown === id ? neighbour : now.shown };
    });
  }

  dismiss(): void {
    this.state.set((now) => ({ ...now, failure: null }));
  }

  /** Lets go of all; on the server they go on. */
  forget(): void {
    for (const session of this.state.get().list) session.close();
    this.state.set(nothing);
  }

  private async session(project: string, facts: SessionFacts): Promise<Session> {
    return new Session(this.api, project, facts, await this.openScreen());
  }

  /** Is this still the project on show? If not, what was made for it goes. */
  private present(project: string, made: Session[]): boolean {
    if (this.state.get().project === project) return true;
    for (const session of made) session.close();
    return false;
  }
}

const factsOf = (info: TerminalInfo, now: number): SessionFacts => ({
  id: info.term_id,
  program: info.program,
  openedAt: now - info.age_ms,
  rows: info.rows,
  cols: info.cols,
});
