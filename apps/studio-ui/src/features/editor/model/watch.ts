import type { FsChangedNote } from "@/lib/rpc/methods.gen";
import type { Files } from "../api/files";
import type { Documents } from "./documents";
import { parentOf } from "./paths";
import type { Tree } from "./tree";

interface Watched {
  files: Pick<Files, "watch">;
  tree: Pick<Tree, "refresh" | "load" | "state">;
  documents: Pick<Documents, "changedOutside" | "state">;
}

const firstPauseMs = 1_000;
const longestPauseMs = 30_000;

/**
 * Keeps tree and open files as they are on the server, until the returned function is called. When the watch breaks, it is begun again after a
 * pause, and everything is looked at once, since nobody told what happened in between.
 */
export function watchProject({ files, tree, documents }: Watched): () => void {
  const stopper = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let pauseMs = firstPauseMs;

  const lookAtAll = () => {
    void tree.refresh();
    for (const file of documents.state.get().files) void documents.changedOutside(file.path);
  };
  const onChange = ({ changes, overflow }: FsChangedNote) => {
    pauseMs = firstPauseMs;
    if (overflow) {
      lookAtAll();
      return;
    }
    const folders = new Set(changes.filter(({ change }) => change !== "changed").map(({ path }) => parentOf(path)));
    for (const folder of folders) if (tree.state.get().folders[folder]?.open) void tree.load(folder);
    const open = new Set(documents.state.get().files.map((file) => file.path));
    for (const { path, change } of changes) if (change !== "deleted" && open.has(path)) void documents.changedOutside(path);
  };
  const begin = (again: boolean) => {
    if (again) lookAtAll();
    const onEnd = () => {
      if (stopper.signal.aborted) return;
      timer = setTimeout(() => begin(true), pauseMs);
      pauseMs = Math.min(pauseMs * 2, longestPauseMs);
    };
    files.watch(onChange, stopper.signal).then(onEnd, onEnd);
  };
  begin(false);
  return () => {
    stopper.abort();
    clearTimeout(timer);
  };
}
