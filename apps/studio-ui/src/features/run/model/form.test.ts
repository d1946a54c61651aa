import { describe, expect, it } from "vitest";
import { emptyForm, languageOfPath, paramsOf, readLimit } from "./form";

describe("the run form", () => {
  it("names the file, and leaves out what is empty", () => {
    expect(paramsOf("p", { ...emptyForm, path: " hello.py " })).toEqual({ project: "p", language: "python", path: "hello.py" });
  });

  it("asks for a microVM where the language has one, and names an image that is not the default", () => {
    const micro = { ...emptyForm, path: "a", engine: "micro", image: "tiny" } as const;
    expect(paramsOf("p", { ...micro, language: "sh" })).toEqual({ project: "p", engine: "micro:sh", image: "tiny", path: "a" });
    expect(paramsOf("p", { ...micro, language: "node", image: "default" })).toEqual({ project: "p", engine: "micro:node", path: "a" });
    expect(paramsOf("p", { ...micro, language: "cpp" })).toEqual({ project: "p", language: "cpp", path: "a" });
    expect(paramsOf("p", { ...micro, engine: "run", language: "sh" })).toEqual({ project: "p", language: "sh", path: "a" });
  });

  it("sends typed code instead of a file", () => {
    expect(paramsOf("p", { ...emptyForm, source: "code", code: "exit 1", path: "ignored.py", language: "sh" })).toEqual({ project: "p", language: "sh", code: "exit 1" });
  });

  it("makes one argument of each line, blanks and empty lines included", () => {
    expect(paramsOf("p", { ...emptyForm, path: "a.py", argv: "one two\n\nthree\n" })).toMatchObject({ argv: ["one two", "", "three"] });
  });

  it("turns limits into milliseconds and bytes", () => {
    expect(paramsOf("p", { ...emptyForm, path: "a.py", wallS: "2,5", cpuS: "1", memoryMiB: "64" })).toMatchObject({
      limits: { wall_ms: 2500, cpu_ms: 1000, memory_bytes: 67_108_864 },
    });
  });

  it("names every limit that is wrong instead of sending it", () => {
    expect(paramsOf("p", { ...emptyForm, path: "a.py", wallS: "0", cpuS: "soon", memoryMiB: "15" })).toEqual(["wallS", "cpuS", "memoryMiB"]);
  });

  it("takes the ends of the ranges and nothing beyond", () => {
    expect([readLimit("wallS", "600"), readLimit("wallS", "600.1"), readLimit("memoryMiB", "16384"), readLimit("memoryMiB", "16385")]).toEqual([600, null, 16384, null]);
    expect([readLimit("wallS", ""), readLimit("wallS", "Infinity"), readLimit("wallS", "-1")]).toEqual([undefined, null, null]);
  });

  it("knows the language by the ending", () => {
    expect(["a.py", "b.MJS", "c.js", "d.sh", "e.c", "e.cpp", "f.txt", "Makefile"].map(languageOfPath)).toEqual(["python", "node", "node", "sh", "c", "cpp", undefined, undefined]);
  });
});
