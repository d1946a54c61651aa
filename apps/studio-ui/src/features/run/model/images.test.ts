import { describe, expect, it } from "vitest";
import { Images, imagesWith, isImageName, type Image } from "./images";

const image = (name: string, languages: Image["languages"]): Image => ({ name, languages, digest: "", size_bytes: 1, added_ms: 0, source: "archive", entries: 1, tree_bytes: 1 });

describe("images of microVMs", () => {
  it("are offered where they hold the language", () => {
    const list = [image("default", ["python", "node", "sh"]), image("tiny", ["sh"])];
    expect(imagesWith(list, "sh").map((one) => one.name)).toEqual(["default", "tiny"]);
    expect(imagesWith(list, "node").map((one) => one.name)).toEqual(["default"]);
    expect(imagesWith(list, "cpp")).toEqual([]);
  });

  it("have names that the sandbox takes", () => {
    expect(["a", "debian-12.5_x", "0", "a".repeat(63)].every(isImageName)).toBe(true);
    expect(["", "A", ".a", "-a", "a/b", "ä", "a".repeat(64)].some(isImageName)).toBe(false);
  });

  it("keep what was known when a look fails", async () => {
    let fails = false;
    const images = new Images(() => (fails ? Promise.reject(new Error("gone")) : Promise.resolve({ images: [image("tiny", ["sh"])] })));
    await images.load();
    fails = true;
    await images.load();
    expect(images.state.get().list?.map((one) => one.name)).toEqual(["tiny"]);
    expect(images.state.get().failure).not.toBeNull();
  });
});
