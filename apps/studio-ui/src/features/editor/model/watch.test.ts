import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { FsChangedNote } from "@/lib/rpc/methods.gen";
import { watchProject } from "./watch";

type Change = FsChangedNote["changes"][number];

function scripted() {
  const calls: { tell(changes: Change[], overflow?: boolean): void; break(): void; signal: AbortSignal }[] = [];
  const watch = (onChange: (note: FsChangedNote) => void, signal: AbortSignal) =>
    new Promise<never>((_, reject) => {
      calls.push({ tell: (changes, overflow = false) => onChange({ id: 1, seq: 0, changes, overflow }), break: () => reject(new Error("gone")), signal });
    });
  const tree = { refresh: vi.fn(async () => {}), load: vi.fn(async () => {}), state: { get: () => ({ folders: { "": { open: true }, closed: { open: false } } }) } };
  const documents = { changedOutside: vi.fn(async () => {}), state: { get: () => ({ files: [{ path: "main.py" }] }) } };
  return { calls, tree, documents, stop: watchProject({ files: { watch }, tree, documents } as never) };
}

describe("a watched project", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("lists the open folder in which something came or went, and no other", () => {
    const s = scripted();
    s.calls[0]?.tell([
      { path: "new.txt", type: "file", change: "created" },
      { path: "closed/gone.txt", type: "file", change: "deleted" },
      { path: "old.txt", type: "file", change: "changed" },
    ]);
    expect(s.tree.load.mock.calls).toEqual([[""]]);
    expect(s.documents.changedOutside).not.toHaveBeenCalled();
  });

  it("looks at an open file that was written, and not at one that was deleted", () => {
    const s = scripted();
    s.calls[0]?.tell([{ path: "main.py", type: "file", change: "deleted" }]);
    expect(s.documents.changedOutside).not.toHaveBeenCalled();
    s.calls[0]?.tell([{ path: "main.py", type: "file", change: "changed" }]);
    expect(s.documents.changedOutside.mock.calls).toEqual([["main.py"]]);
  });

  it("looks at everything when more changed than was told", () => {
    const s = scripted();
    s.calls[0]?.tell([], true);
    expect(s.tree.refresh).toHaveBeenCalledTimes(1);
    expect(s.documents.changedOutside.mock.calls).toEqual([["main.py"]]);
  });

  it("begins again after a pause that grows, looking at everything first", async () => {
    const s = scripted();
    s.calls[0]?.break();
    await vi.advanceTimersByTimeAsync(999);
    expect(s.calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(s.calls).toHaveLength(2);
    expect(s.tree.refresh).toHaveBeenCalledTimes(1);
    s.calls[1]?.break();
    await vi.advanceTimersByTimeAsync(1_999);
    expect(s.calls).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(1);
    expect(s.calls).toHaveLength(3);
  });

  it("ends the call and tries no more when it is stopped", async () => {
    const s = scripted();
    s.stop();
    expect(s.calls[0]?.signal.aborted).toBe(true);
    s.calls[0]?.break();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(s.calls).toHaveLength(1);
  });
});
