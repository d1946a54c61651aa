import { describe, expect, it, vi } from "vitest";
import { Failure } from "@/lib/failure";
import type { Files } from "../api/files";
import { Documents, type Buffer } from "./documents";

/** A project on a server that checks versions, as fs.write does. */
function scripted(texts: Record<string, string>) {
  const disk = new Map(Object.entries(texts).map(([path, content]) => [path, { content, version: "v1" }]));
  let count = 1;
  const missing = (path: string) => new Failure("NOT_FOUND", { detail: `There is no ${path}.` });
  const files = {
    read: vi.fn(async (path: string) => {
      const file = disk.get(path);
      if (!file) throw missing(path);
      return { path, ...file, encoding: path.endsWith(".bin") ? ("base64" as const) : ("utf-8" as const), size_bytes: file.content.length };
    }),
    stat: async (path: string) => {
      const file = disk.get(path);
      if (!file) throw missing(path);
      return { path, type: "file" as const, size_bytes: 1, modified_ms: 1, version: file.version };
    },
    write: vi.fn(async (path: string, content: string, ifVersion?: string) => {
      if (ifVersion !== undefined && disk.get(path)?.version !== ifVersion) throw new Failure("CONFLICT");
      const version = `v${++count}`;
      disk.set(path, { content, version });
      return { path, size_bytes: content.length, version };
    }),
  };
  const typed = new Map<string, (text: string) => void>();
  const makeBuffer = async (path: string, first: string, onChange: () => void): Promise<Buffer> => {
    let text = first;
    let mark = 0;
    let saved = 0;
    const set = (next: string) => {
      text = next;
      mark++;
      onChange();
    };
    typed.set(path, set);
    return { snapshot: () => ({ text, mark }), saved: (at) => (saved = at), isChanged: () => mark !== saved, replace: set, dispose: vi.fn() };
  };
  const documents = new Documents(files as unknown as Files, makeBuffer);
  const type = (path: string, text: string) => typed.get(path)?.(text);
  const elsewhere = (path: string, content: string) => disk.set(path, { content, version: `w${++count}` });
  return { documents, files, disk, type, elsewhere };
}

describe("open files", () => {
  it("open once and become active", async () => {
    const { documents, files } = scripted({ "a.py": "1", "b.py": "2" });
    await documents.open("a.py");
    await documents.open("b.py");
    await documents.open("a.py");
    expect(files.read).toHaveBeenCalledTimes(2);
    expect(documents.state.get()).toMatchObject({ active: "a.py", files: [{ path: "a.py", version: "v1", unsaved: false }, { path: "b.py" }] });
  });

  it("open once when asked twice at the same time", async () => {
    const { documents } = scripted({ "a.py": "1" });
    await Promise.all([documents.open("a.py"), documents.open("a.py")]);
    expect(documents.state.get().files).toHaveLength(1);
  });

  it("show why one could not be read", async () => {
    const { documents } = scripted({});
    await documents.open("gone.py");
    expect(documents.state.get()).toMatchObject({ files: [], opening: null, failure: { failure: { name: "NOT_FOUND" } } });
  });

  it("hold no text of bytes that are no text", async () => {
    const { documents, files } = scripted({ "a.bin": "AAAA" });
    await documents.open("a.bin");
    expect(documents.find("a.bin")?.buffer).toBeNull();
    expect(await documents.save("a.bin")).toBe(false);
    expect(files.write).not.toHaveBeenCalled();
  });

  it("are marked unsaved from the first change to the save", async () => {
    const { documents, disk, type } = scripted({ "a.py": "1" });
    await documents.open("a.py");
    type("a.py", "2");
    expect(documents.hasUnsaved()).toBe(true);
    expect(await documents.save("a.py")).toBe(true);
    expect(documents.hasUnsaved()).toBe(false);
    expect(disk.get("a.py")?.content).toBe("2");
  });

  it("stay unsaved when something was typed while they were saved", async () => {
    const { documents, disk, type } = scripted({ "a.py": "1" });
    await documents.open("a.py");
    type("a.py", "2");
    const saving = documents.save("a.py");
    type("a.py", "3");
    expect(await saving).toBe(true);
    expect(disk.get("a.py")?.content).toBe("2");
    expect(documents.find("a.py")?.unsaved).toBe(true);
  });

  it("follow a rename of their folder and go with its deletion", async () => {
    const { documents, type, disk } = scripted({ "src/a.py": "1" });
    await documents.open("src/a.py");
    disk.set("lib/a.py", { content: "1", version: "v1" });
    documents.rename("src", "lib");
    type("src/a.py", "2");
    expect(documents.state.get()).toMatchObject({ active: "lib/a.py", files: [{ path: "lib/a.py", unsaved: true }] });
    expect(await documents.save("lib/a.py")).toBe(true);
    documents.removed("lib");
    expect(documents.state.get()).toMatchObject({ active: null, files: [] });
  });

  it("give the focus to a neighbour when one closes", async () => {
    const { documents } = scripted({ a: "", b: "", c: "" });
    for (const path of ["a", "b", "c"]) await documents.open(path);
    documents.activate("b");
    documents.close("b");
    expect(documents.state.get().active).toBe("c");
    documents.close("c");
    expect(documents.state.get().active).toBe("a");
  });
});

describe("a file that changed on the server", () => {
  async function conflicting() {
    const project = scripted({ "a.py": "1" });
    await project.documents.open("a.py");
    project.type("a.py", "mine");
    project.elsewhere("a.py", "theirs");
    expect(await project.documents.save("a.py")).toBe(false);
    return project;
  }

  it("is not overwritten, and the reader is asked", async () => {
    const { documents, disk } = await conflicting();
    expect(disk.get("a.py")?.content).toBe("theirs");
    expect(documents.state.get()).toMatchObject({ conflict: { path: "a.py", gone: false }, failure: null, files: [{ unsaved: true, saving: false }] });
  });

  it("is loaded on request, and counts as saved", async () => {
    const { documents } = await conflicting();
    await documents.reload("a.py");
    expect(documents.find("a.py")?.buffer?.snapshot().text).toBe("theirs");
    expect(documents.hasUnsaved()).toBe(false);
    expect(documents.state.get().conflict).toBeNull();
    expect(await documents.save("a.py")).toBe(true);
  });

  it("is overwritten on request only", async () => {
    const { documents, disk } = await conflicting();
    expect(await documents.save("a.py", true)).toBe(true);
    expect(disk.get("a.py")?.content).toBe("mine");
    expect(documents.state.get().conflict).toBeNull();
  });

  it("asks again at the next save after keep editing", async () => {
    const { documents, disk } = await conflicting();
    documents.keepEditing();
    expect(documents.state.get().conflict).toBeNull();
    expect(await documents.save("a.py")).toBe(false);
    expect(documents.state.get().conflict).not.toBeNull();
    expect(disk.get("a.py")?.content).toBe("theirs");
  });

  it("is told gone when it was deleted", async () => {
    const { documents, disk, type } = scripted({ "a.py": "1" });
    await documents.open("a.py");
    type("a.py", "2");
    disk.delete("a.py");
    expect(await documents.save("a.py")).toBe(false);
    expect(documents.state.get().conflict).toEqual({ path: "a.py", gone: true });
  });

  it("shows what something else has written, unless there are changes here", async () => {
    const { files, documents, type, elsewhere } = scripted({ "a.py": "one" });
    await documents.open("a.py");
    elsewhere("a.py", "two");
    await documents.changedOutside("a.py");
    expect(documents.find("a.py")).toMatchObject({ unsaved: false });
    expect(documents.find("a.py")?.buffer?.snapshot().text).toBe("two");
    type("a.py", "mine");
    elsewhere("a.py", "three");
    await documents.changedOutside("a.py");
    expect(documents.find("a.py")?.buffer?.snapshot().text).toBe("mine");
    expect(files.read).toHaveBeenCalledTimes(2);
  });
});
