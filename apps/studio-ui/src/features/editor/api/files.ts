import type { FsChangedNote } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";

/** The fs methods, bound to one project. */
export const filesOf = (project: string) => ({
  list: (path: string) => rpc.call("fs.list", { project, path }),
  read: (path: string) => rpc.call("fs.read", { project, path }),
  stat: (path: string) => rpc.call("fs.stat", { project, path }),
  write: (path: string, content: string, ifVersion?: string) => rpc.call("fs.write", { project, path, content, ...(ifVersion !== undefined && { if_version: ifVersion }) }),
  create: (path: string, type: "file" | "dir") => rpc.call("fs.create", { project, path, type }),
  rename: (from: string, to: string) => rpc.call("fs.rename", { project, from, to }),
  remove: (path: string) => rpc.call("fs.delete", { project, path, recursive: true }),
  /** Tells what changes until the signal ends it; fails when the connection breaks. */
  watch: (onChange: (note: FsChangedNote) => void, signal: AbortSignal) => rpc.call("fs.watch", { project }, { signal, onNotification: (_method, note) => onChange(note) }),
});

export type Files = ReturnType<typeof filesOf>;
