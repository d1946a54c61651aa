import { toFailure, type Failure } from "@/lib/failure";
import { createStore, type Store } from "@/lib/store";
import type { Files } from "../api/files";
import { isInside, moved } from "./paths";

/** The text of an open file, held by the editor. */
export interface Buffer {
  /** The present text and a mark that stands for it. */
  snapshot(): { text: string; mark: number };
  /** From now on the text at this mark counts as saved. */
  saved(mark: number): void;
  isChanged(): boolean;
  replace(text: string): void;
  dispose(): void;
}

export type MakeBuffer = (path: string, text: string, onChange: () => void) => Promise<Buffer>;

export interface OpenFile {
  path: string;
  /** Version on the server that the text is based on. */
  version: string;
  /** null: not text, so not opened. */
  buffer: Buffer | null;
  sizeBytes: number;
  unsaved: boolean;
  saving: boolean;
}

export interface DocumentsState {
  files: readonly OpenFile[];
  active: string | null;
  opening: string | null;
  conflict: { path: string; gone: boolean } | null;
  failure: { failure: Failure; retry?: (() => void) | undefined } | null;
}

const openMax = 64;

/** The open files of one project. A save names the version it is based on, so that nobody's work is overwritten unseen. */
export class Documents {
  readonly state: Store<DocumentsState> = createStore<DocumentsState>({ files: [], active: null, opening: null, conflict: null, failure: null });
  private readonly files: Files;
  private readonly makeBuffer: MakeBuffer;

  constructor(files: Files, makeBuffer: MakeBuffer) {
    this.files = files;
    this.makeBuffer = makeBuffer;
  }

  find(path: string | null): OpenFile | undefined {
    return this.state.get().files.find((file) => file.path === path);
  }

  async open(path: string): Promise<void> {
    if (this.find(path)) {
      this.change({ active: path, failure: null });
      return;
    }
    if (this.state.get().opening === path) return;
    this.change({ opening: path, failure: null });
    try {
      const read = await this.files.read(path);
      const buffer = read.encoding === "utf-8" ? await this.makeBuffer(path, read.content, () => this.note()) : null;
      if (this.find(path)) {
        buffer?.dispose();
        return;
      }
      this.makeRoom();
      const file: OpenFile = { path, version: read.version, buffer, sizeBytes: read.size_bytes, unsaved: false, saving: false };
      this.state.set((now) => ({ ...now, files: [...now.files, file], active: now.opening === path ? path : now.active }));
    } catch (error) {
      this.change({ failure: { failure: toFailure(error), retry: () => void this.open(path) } });
    } finally {
      if (this.state.get().opening === path) this.change({ opening: null });
    }
  }

  activate(path: string): void {
    this.change({ active: path });
  }

  close(path: string): void {
    const { files, active } = this.state.get();
    const at = files.findIndex((file) => file.path === path);
    if (at < 0) return;
    const rest = files.filter((file) => file.path !== path);
    this.change({ files: rest, active: active === path ? (rest[Math.min(at, rest.length - 1)]?.path ?? null) : active });
    files[at]?.buffer?.dispose();
  }

  /** Saves one file. False: it is not saved, and a conflict or a failure says why. */
  async save(path: string, overwrite = false): Promise<boolean> {
    const file = this.find(path);
    if (!file?.buffer || file.saving) return false;
    const { text, mark } = file.buffer.snapshot();
    this.patch(path, { saving: true });
    this.change({ failure: null, conflict: null });
    try {
      const written = await this.files.write(path, text, overwrite ? undefined : file.version);
      file.buffer.saved(mark);
      this.patch(path, { version: written.version, sizeBytes: written.size_bytes, saving: false });
      this.note();
      return true;
    } catch (error) {
      this.patch(path, { saving: false });
      await this.explain(path, toFailure(error));
      return false;
    }
  }

  /** Takes the server's text; changes made here are dropped. */
  async reload(path: string): Promise<void> {
    this.change({ conflict: null, failure: null });
    try {
      const read = await this.files.read(path);
      const file = this.find(path);
      if (!file?.buffer) return;
      if (read.encoding !== "utf-8") {
        this.close(path);
        await this.open(path);
        return;
      }
      file.buffer.replace(read.content);
      file.buffer.saved(file.buffer.snapshot().mark);
      this.patch(path, { version: read.version, sizeBytes: read.size_bytes });
      this.note();
    } catch (error) {
      this.change({ failure: { failure: toFailure(error), retry: () => void this.reload(path) } });
    }
  }

  /** Something else has written an open file: without changes here its new text is shown; with changes the next save says that there is a conflict. */
  async changedOutside(path: string): Promise<void> {
    const file = this.find(path);
    if (!file || file.unsaved || file.saving) return;
    const known = file.version;
    const now = await this.files.stat(path).catch(() => null);
    const still = this.find(path);
    if (now && now.version !== known && still && !still.unsaved && !still.saving && still.version === known) await this.reload(path);
  }

  keepEditing(): void {
    this.change({ conflict: null });
  }

  dismissFailure(): void {
    this.change({ failure: null });
  }

  /** A file or folder was renamed; open files keep their text. */
  rename(from: string, to: string): void {
    this.state.set((now) => ({
      ...now,
      files: now.files.map((file) => ({ ...file, path: moved(file.path, from, to) })),
      active: now.active === null ? null : moved(now.active, from, to),
    }));
  }

  /** A file or folder was deleted. */
  removed(path: string): void {
    for (const file of this.state.get().files) if (isInside(file.path, path)) this.close(file.path);
  }

  hasUnsaved(): boolean {
    return this.state.get().files.some((file) => file.unsaved);
  }

  dispose(): void {
    for (const file of this.state.get().files) file.buffer?.dispose();
    this.change({ files: [], active: null });
  }

  private async explain(path: string, failure: Failure): Promise<void> {
    if (failure.name !== "CONFLICT" && failure.name !== "NOT_FOUND") {
      this.change({ failure: { failure, retry: () => void this.save(path) } });
      return;
    }
    const gone = await this.files.stat(path).then(
      () => false,
      (error: unknown) => toFailure(error).name === "NOT_FOUND",
    );
    this.change({ conflict: { path, gone } });
  }

  /** The oldest file without changes gives its place. */
  private makeRoom(): void {
    const { files } = this.state.get();
    if (files.length < openMax) return;
    const oldest = files.find((file) => !file.unsaved);
    if (oldest) this.close(oldest.path);
  }

  /** Some text changed. All files are looked at: a buffer does not know its path, which a rename may have changed. */
  private note(): void {
    this.state.set((now) => {
      const files = now.files.map((file) => {
        const unsaved = file.buffer?.isChanged() ?? false;
        return unsaved === file.unsaved ? file : { ...file, unsaved };
      });
      return files.every((file, at) => file === now.files[at]) ? now : { ...now, files };
    });
  }

  private patch(path: string, part: Partial<OpenFile>): void {
    this.state.set((now) => ({ ...now, files: now.files.map((file) => (file.path === path ? { ...file, ...part } : file)) }));
  }

  private change(part: Partial<DocumentsState>): void {
    this.state.set((now) => ({ ...now, ...part }));
  }
}
