import { toFailure, type Failure } from "@/lib/failure";
import type { FsListResult } from "@/lib/rpc/methods.gen";
import { createStore, type Store } from "@/lib/store";
import type { Files } from "../api/files";
import { ancestorsOf, isInside, join, moved, parentOf } from "./paths";

export type Entry = FsListResult["entries"][number];

export interface Folder {
  entries: Entry[] | null;
  open: boolean;
  loading: boolean;
  failure: Failure | null;
}

export interface TreeState {
  folders: Readonly<Record<string, Folder>>;
  selected: string | null;
}

/** One visible line of the tree. */
export interface Row {
  path: string;
  name: string;
  type: Entry["type"];
  depth: number;
  folder: Folder | null;
}

const closed: Folder = { entries: null, open: false, loading: false, failure: null };

/** Folders are listed when they are opened, and again when something in them changed. */
export class Tree {
  readonly state: Store<TreeState> = createStore<TreeState>({ folders: {}, selected: null });
  private readonly files: Files;

  constructor(files: Files) {
    this.files = files;
  }

  async load(path: string): Promise<void> {
    this.change(path, { open: true, loading: true, failure: null });
    try {
      const { entries } = await this.files.list(path);
      this.change(path, { entries: sorted(entries), loading: false });
    } catch (error) {
      this.change(path, { loading: false, failure: toFailure(error) });
    }
  }

  toggle(path: string): void {
    const folder = this.state.get().folders[path] ?? closed;
    if (folder.open) this.change(path, { open: false });
    else if (folder.entries) this.change(path, { open: true });
    else void this.load(path);
  }

  /** Lists every open folder again. */
  async refresh(): Promise<void> {
    const open = Object.entries(this.state.get().folders).filter(([, folder]) => folder.open);
    await Promise.all(open.map(([path]) => this.load(path)));
  }

  select(path: string | null): void {
    this.state.set((now) => ({ ...now, selected: path }));
  }

  /** The folder that new things go to: the selected one, or the one around the selected file. */
  target(): string {
    const { selected, folders } = this.state.get();
    if (selected === null) return "";
    return folders[selected]?.open ? selected : parentOf(selected);
  }

  /** Makes a file or folder, and the folders on the way to it that are not there yet. */
  async create(path: string, type: "file" | "dir"): Promise<void> {
    for (const folder of ancestorsOf(path)) {
      if (this.state.get().folders[folder]?.entries) continue;
      await this.files.create(folder, "dir").catch((error: unknown) => {
        if (toFailure(error).name !== "CONFLICT") throw error;
      });
    }
    await this.files.create(path, type);
    await this.reveal(path);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.files.rename(from, to);
    this.state.set((now) => ({
      selected: to,
      folders: Object.fromEntries(Object.entries(now.folders).map(([path, folder]) => [moved(path, from, to), folder])),
    }));
    await this.load(parentOf(from));
    await this.reveal(to);
  }

  async remove(path: string): Promise<void> {
    await this.files.remove(path);
    this.state.set((now) => ({
      selected: null,
      folders: Object.fromEntries(Object.entries(now.folders).filter(([folder]) => !isInside(folder, path))),
    }));
    await this.load(parentOf(path));
  }

  /** Opens the folders on the way to a path and selects it. */
  private async reveal(path: string): Promise<void> {
    await this.load("");
    for (const folder of ancestorsOf(path)) await this.load(folder);
    this.select(path);
  }

  private change(path: string, part: Partial<Folder>): void {
    this.state.set((now) => ({ ...now, folders: { ...now.folders, [path]: { ...(now.folders[path] ?? closed), ...part } } }));
  }
}

/** Folders first, then by name as people expect (file2 before file10). */
export function sorted(entries: Entry[]): Entry[] {
  const order = new Intl.Collator(undefined, { numeric: true });
  return [...entries].sort((a, b) => Number(b.type === "dir") - Number(a.type === "dir") || order.compare(a.name, b.name));
}

/** The tree as the list of lines that are in view. */
export function rowsOf(state: TreeState, folder = "", depth = 0): Row[] {
  const rows: Row[] = [];
  for (const entry of state.folders[folder]?.entries ?? []) {
    const path = join(folder, entry.name);
    const inner = entry.type === "dir" ? (state.folders[path] ?? closed) : null;
    rows.push({ path, name: entry.name, type: entry.type, depth, folder: inner });
    if (inner?.open) rows.push(...rowsOf(state, path, depth + 1));
  }
  return rows;
}
