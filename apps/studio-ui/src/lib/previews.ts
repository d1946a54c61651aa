import { toFailure, type Failure } from "@/lib/failure";
import type { PreviewListResult, PreviewOpenParams, PreviewOpenResult, PreviewPortsParams } from "@/lib/rpc/methods.gen";
import { createStore, type Store } from "@/lib/store";

/** Which program: that of a terminal, or a run. */
export type PreviewTarget = Omit<PreviewPortsParams, "project"> & { project: string };
export type OpenPreview = PreviewListResult["previews"][number];

/** The calls previews need, so that tests can script them. */
export interface PreviewApi {
  ports(target: PreviewPortsParams): Promise<number[]>;
  open(params: PreviewOpenParams): Promise<PreviewOpenResult>;
  close(project: string, preview_id: string): Promise<unknown>;
  list(project: string): Promise<OpenPreview[]>;
}

export interface PreviewState {
  ports: readonly number[];
  open: readonly OpenPreview[];
  failure: Failure | null;
}

/** How often a program's ports are asked for while the page is seen. */
export const portsEveryMs = 3_000;
/** How often the server is shown that somebody is still signed in here while a preview is open, seen or not. */
export const keepEveryMs = 60_000;

const nothing: PreviewState = { ports: [], open: [], failure: null };
const same = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((port, at) => port === b[at]);

/** Posts a ticket to its preview in a new tab. A form, since a ticket in an address would stand in the history. */
export function enterPreview({ url, ticket }: PreviewOpenResult, page: Document = document): void {
  const form = page.createElement("form");
  form.method = "POST";
  form.action = `${url}/.cds/enter`;
  form.target = "_blank";
  form.rel = "noopener noreferrer";
  const field = page.createElement("input");
  field.type = "hidden";
  field.name = "ticket";
  field.value = ticket;
  form.append(field);
  page.body.append(form);
  form.submit();
  form.remove();
}

/** The ports of one program, and the previews of them that are open. */
export class Previews {
  readonly state: Store<PreviewState> = createStore<PreviewState>(nothing);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private lastListed = 0;
  private ended = false;

  constructor(
    private readonly api: PreviewApi,
    private readonly target: PreviewTarget,
    private readonly enter: (opened: PreviewOpenResult) => void = enterPreview,
    private readonly hidden: () => boolean = () => document.hidden,
    private readonly now: () => number = Date.now,
  ) {}

  /** Asks now and from then on, until the function it returns is called. */
  follow(): () => void {
    this.ended = false;
    void this.turn();
    return () => {
      this.ended = true;
      clearTimeout(this.timer);
    };
  }

  async open(port: number): Promise<void> {
    this.state.set((now) => ({ ...now, failure: null }));
    try {
      this.enter(await this.api.open({ ...this.target, port }));
      await this.list();
    } catch (error) {
      this.state.set((now) => ({ ...now, failure: toFailure(error) }));
    }
  }

  async close(preview: OpenPreview): Promise<void> {
    try {
      await this.api.close(preview.project, preview.preview_id);
      await this.list();
    } catch (error) {
      this.state.set((now) => ({ ...now, failure: toFailure(error) }));
    }
  }

  dismiss(): void {
    this.state.set((now) => ({ ...now, failure: null }));
  }

  /** One look. What fails is looked for again: the connection's own state is told elsewhere. */
  private async turn(): Promise<void> {
    const { open } = this.state.get();
    try {
      if (!this.hidden()) await this.look();
      const every = open.length > 0 ? keepEveryMs : Infinity;
      if (this.lastListed === 0 || this.now() - this.lastListed >= every) await this.list();
    } catch {
      this.set({ ports: [] });
    }
    if (!this.ended) this.timer = setTimeout(() => void this.turn(), portsEveryMs);
  }

  private async look(): Promise<void> {
    const ports = await this.api.ports(this.target);
    if (!same(ports, this.state.get().ports)) {
      this.set({ ports });
      await this.list();
    }
  }

  private async list(): Promise<void> {
    const { term_id, run_id } = this.target;
    const all = await this.api.list(this.target.project);
    this.lastListed = this.now();
    this.set({ open: all.filter((one) => (term_id ? one.term_id === term_id : one.run_id === run_id)) });
  }

  private set(part: Partial<PreviewState>): void {
    if (!this.ended) this.state.set((now) => ({ ...now, ...part }));
  }
}
