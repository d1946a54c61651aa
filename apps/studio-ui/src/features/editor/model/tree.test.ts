import { describe, expect, it, vi } from "vitest";
import { Failure } from "@/lib/failure";
import type { Files } from "../api/files";
import { firstFileOf, isUsableName, moved, runLanguageOf } from "./paths";
import { rowsOf, sorted, Tree, type Entry } from "./tree";

const entry = (name: string, type: Entry["type"] = "file"): Entry => ({ name, type, size_bytes: 1, modified_ms: 1 });

function scripted(folders: Record<string, Entry[]>) {
  const files = {
    list: vi.fn(async (path: string) => {
      const entries = folders[path];
      if (!entries) throw new Failure("NOT_FOUND");
      return { path, entries };
    }),
    create: vi.fn<(path: string, type: string) => Promise<unknown>>(async () => ({})),
    rename: vi.fn(async () => ({})),
    remove: vi.fn(async () => ({})),
  };
  const tree = new Tree(files as unknown as Files);
  const lines = () => rowsOf(tree.state.get()).map((row) => `${"  ".repeat(row.depth)}${row.name}`);
  return { tree, files, lines, folders };
}

describe("the file tree", () => {
  it("lists a folder when it is opened, and not before", async () => {
    const { tree, files, lines } = scripted({ "": [entry("a.py"), entry("src", "dir")], src: [entry("b.py")] });
    await tree.load("");
    expect(lines()).toEqual(["src", "a.py"]);
    expect(files.list).toHaveBeenCalledTimes(1);
    tree.toggle("src");
    await vi.waitFor(() => expect(lines()).toEqual(["src", "  b.py", "a.py"]), 30_000);
    tree.toggle("src");
    tree.toggle("src");
    expect(files.list).toHaveBeenCalledTimes(2);
  });

  it("keeps the failure of one folder with that folder", async () => {
    const { tree } = scripted({ "": [entry("gone", "dir")] });
    await tree.load("");
    await tree.load("gone");
    expect(tree.state.get().folders["gone"]).toMatchObject({ loading: false, failure: { name: "NOT_FOUND" } });
    expect(tree.state.get().folders[""]?.failure).toBeNull();
  });

  it("puts new things into the selected folder, or beside the selected file", async () => {
    const { tree } = scripted({ "": [entry("src", "dir")], src: [entry("b.py")] });
    await tree.load("");
    expect(tree.target()).toBe("");
    await tree.load("src");
    tree.select("src");
    expect(tree.target()).toBe("src");
    tree.select("src/b.py");
    expect(tree.target()).toBe("src");
  });

  it("makes and opens the folders on the way to a new file", async () => {
    const { tree, files, folders, lines } = scripted({ "": [] });
    await tree.load("");
    folders[""] = [entry("x", "dir")];
    folders["x"] = [entry("y", "dir")];
    folders["x/y"] = [entry("n.py")];
    files.create.mockImplementationOnce(async () => {
      throw new Failure("CONFLICT");
    });
    await tree.create("x/y/n.py", "file");
    expect(files.create.mock.calls).toEqual([
      ["x", "dir"],
      ["x/y", "dir"],
      ["x/y/n.py", "file"],
    ]);
    expect(lines()).toEqual(["x", "  y", "    n.py"]);
    expect(tree.state.get().selected).toBe("x/y/n.py");
  });

  it("makes nothing in a folder that the server refuses", async () => {
    const { tree, files } = scripted({ "": [] });
    await tree.load("");
    files.create.mockImplementationOnce(async () => {
      throw new Failure("DENIED");
    });
    await expect(tree.create("x/n.py", "file")).rejects.toMatchObject({ name: "DENIED" });
    expect(files.create).toHaveBeenCalledTimes(1);
  });

  it("forgets a deleted folder and what was in it", async () => {
    const { tree, folders, lines } = scripted({ "": [entry("src", "dir")], src: [entry("b.py")] });
    await tree.load("");
    await tree.load("src");
    folders[""] = [];
    await tree.remove("src");
    expect(lines()).toEqual([]);
    expect(Object.keys(tree.state.get().folders)).toEqual([""]);
  });

  it("keeps an open folder open under its new name", async () => {
    const { tree, folders, lines } = scripted({ "": [entry("src", "dir")], src: [entry("b.py")] });
    await tree.load("");
    await tree.load("src");
    folders[""] = [entry("lib", "dir")];
    folders["lib"] = [entry("b.py")];
    await tree.rename("src", "lib");
    expect(lines()).toEqual(["lib", "  b.py"]);
  });

  it("sorts folders first and numbers as people count", () => {
    expect(sorted([entry("file10"), entry("file2"), entry("z", "dir")]).map((one) => one.name)).toEqual(["z", "file2", "file10"]);
  });
});

describe("paths", () => {
  it("follow a rename of the folder they are in, and of no other", () => {
    expect([moved("src/a/b", "src", "lib"), moved("src2/a", "src", "lib"), moved("src", "src", "x/y")]).toEqual(["lib/a/b", "src2/a", "x/y"]);
  });

  it("name files that can be run", () => {
    expect(["a.py", "a.mjs", "a.js", "a.sh", "a.c", "a.h", "c", ""].map(runLanguageOf)).toEqual(["python", "node", "node", "sh", "c", null, null, null]);
  });

  it.each(["", ".", "..", "/a", "a/", "a//b", "a/../b"])("refuse the name %j", (name) => {
    expect(isUsableName(name)).toBe(false);
  });

  it("take names in new folders", () => {
    expect(["a", "a b.txt", "src/deep/ä.py"].every(isUsableName)).toBe(true);
  });

  it("choose what a project opens with", () => {
    expect(firstFileOf(["README.md", "hello.c", "hello.py", "x.py"])).toBe("hello.py");
    expect(firstFileOf(["README.md", "hello.c"])).toBe("hello.c");
    expect(firstFileOf(["notes.txt", "README.md"])).toBe("README.md");
    expect(firstFileOf([])).toBeNull();
  });
});
