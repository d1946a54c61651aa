/** Paths inside a project: relative, '/' between parts, "" is the project itself. */

export const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));
export const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
export const join = (folder: string, name: string): string => (folder ? `${folder}/${name}` : name);
export const isInside = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`);

/** The folders around a path, from the outermost in; the project itself is not among them. */
export function ancestorsOf(path: string): string[] {
  const parts = parentOf(path).split("/").filter(Boolean);
  return parts.map((_, at) => parts.slice(0, at + 1).join("/"));
}

/** Where a path lies after a file or folder was renamed. */
export const moved = (path: string, from: string, to: string): string => (isInside(path, from) ? to + path.slice(from.length) : path);

/** May hold '/' for a file in a new place; the server has the last word on every name. */
export function isUsableName(name: string): boolean {
  return name.length > 0 && name.length <= 1024 && name.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

export type RunLanguage = "python" | "node" | "sh" | "c" | "cpp";
const runnable: Record<string, RunLanguage> = { py: "python", js: "node", mjs: "node", sh: "sh", c: "c", cc: "cpp", cpp: "cpp", cxx: "cpp" };

/** The language a file is run with, or null when it cannot be run. */
export function runLanguageOf(path: string): RunLanguage | null {
  const dot = path.lastIndexOf(".");
  return dot < 0 ? null : (runnable[path.slice(dot + 1).toLowerCase()] ?? null);
}

/** The file a project is opened with: what a reader would try first. */
export function firstFileOf(names: string[]): string | null {
  const favourites = ["main.py", "hello.py"];
  return (
    favourites.find((name) => names.includes(name)) ??
    names.find((name) => name.endsWith(".py")) ??
    names.find((name) => runLanguageOf(name)) ??
    names.find((name) => /^readme/i.test(name)) ??
    names[0] ??
    null
  );
}
