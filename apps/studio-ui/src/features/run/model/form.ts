import type { RunExecParams } from "@/lib/rpc/methods.gen";

export type RunLanguage = NonNullable<RunExecParams["language"]>;
export const defaultImage = "default";
type MicroLanguage = "python" | "node" | "sh";
/** Languages that microVMs run. */
export const inMicroVm = (language: RunLanguage): language is MicroLanguage => language === "python" || language === "node" || language === "sh";
export const runLanguages: readonly RunLanguage[] = ["python", "node", "sh", "c", "cpp"];

/** What stands in the form, as typed. */
export interface RunForm {
  source: "file" | "code";
  path: string;
  code: string;
  language: RunLanguage;
  /** micro: in a virtual machine of its own, where the language has one. */
  engine: "run" | "micro";
  /** Root image of that machine. */
  image: string;
  argv: string;
  stdin: string;
  wallS: string;
  cpuS: string;
  memoryMiB: string;
}

export const emptyForm: RunForm = { source: "file", path: "", code: "", language: "python", engine: "run", image: defaultImage, argv: "", stdin: "", wallS: "", cpuS: "", memoryMiB: "" };

/** Ranges of schemas/rpc/run.exec.json in the units of the form. */
export const ranges = { wallS: { min: 0.1, max: 600 }, cpuS: { min: 0.1, max: 600 }, memoryMiB: { min: 16, max: 16384 } } as const;
export type LimitName = keyof typeof ranges;

/** undefined: left to the default; null: not a number in range. */
export function readLimit(name: LimitName, typed: string): number | undefined | null {
  const text = typed.trim().replace(",", ".");
  if (text === "") return undefined;
  const value = Number(text);
  return Number.isFinite(value) && value >= ranges[name].min && value <= ranges[name].max ? value : null;
}

/** The parameters of run.exec, or the names of the limits that are wrong. */
export function paramsOf(project: string, form: RunForm): RunExecParams | LimitName[] {
  const wall = readLimit("wallS", form.wallS);
  const cpu = readLimit("cpuS", form.cpuS);
  const memory = readLimit("memoryMiB", form.memoryMiB);
  const bad = (Object.entries({ wallS: wall, cpuS: cpu, memoryMiB: memory }) as [LimitName, number | null][]).filter(([, value]) => value === null).map(([name]) => name);
  if (bad.length > 0) return bad;
  const limits = {
    ...(wall && { wall_ms: Math.round(wall * 1000) }),
    ...(cpu && { cpu_ms: Math.round(cpu * 1000) }),
    ...(memory && { memory_bytes: Math.round(memory) * 1024 * 1024 }),
  };
  const argv = form.argv === "" ? [] : form.argv.replace(/\n$/, "").split("\n");
  const micro = form.engine === "micro" && inMicroVm(form.language);
  return {
    project,
    ...(micro ? { engine: `micro:${form.language}` } : { language: form.language }),
    ...(micro && form.image !== defaultImage && { image: form.image }),
    ...(form.source === "file" ? { path: form.path.trim() } : { code: form.code }),
    ...(argv.length > 0 && { argv }),
    ...(form.stdin !== "" && { stdin: form.stdin }),
    ...(Object.keys(limits).length > 0 && { limits }),
  } as RunExecParams;
}

const endings: Record<string, RunLanguage> = { py: "python", js: "node", mjs: "node", sh: "sh", c: "c", cc: "cpp", cpp: "cpp", cxx: "cpp" };
export const languageOfPath = (path: string): RunLanguage | undefined => endings[path.slice(path.lastIndexOf(".") + 1).toLowerCase()];
