import { toFailure, type Failure } from "@/lib/failure";
import type { LlmListModelsResult, ProjectCreateParams, ProjectListResult, UsageSummaryResult } from "@/lib/rpc/methods.gen";
import { createStore } from "@/lib/store";
import { readChoice, writeChoice } from "@/lib/storage";
import { rpc, session } from "@/lib/studio";

/** What several features show: the projects, the models and this month's usage of the person who is signed in. */

export type Project = ProjectListResult["projects"][number];
export type Model = LlmListModelsResult["models"][number];

export interface Projects {
  list: Project[] | null;
  current: Project | null;
  failure: Failure | null;
}

export const projects = createStore<Projects>({ list: null, current: null, failure: null });
export const models = createStore<Model[] | null>(null);
export const usage = createStore<UsageSummaryResult | null>(null);

export async function loadProjects(): Promise<void> {
  projects.set((now) => ({ ...now, failure: null }));
  try {
    const { projects: list } = await rpc.call("project.list", {});
    const wanted = projects.get().current?.id ?? readChoice("project");
    projects.set({ list, current: list.find((one) => one.id === wanted) ?? list[0] ?? null, failure: null });
  } catch (error) {
    projects.set((now) => ({ ...now, failure: toFailure(error) }));
  }
}

export function chooseProject(project: Project): void {
  writeChoice("project", project.id);
  projects.set((now) => ({ ...now, current: project }));
}

export async function createProject(params: ProjectCreateParams): Promise<void> {
  const made = await rpc.call("project.create", params);
  projects.set((now) => ({ ...now, list: [...(now.list ?? []), made] }));
  chooseProject(made);
}

/** The status bar shows the last known state when a look fails; the connection state tells why. */
export async function loadModels(): Promise<void> {
  await rpc.call("llm.list_models", {}).then(
    // Models for vectors and ranks answer no chat; the page offers the others.
    (answer) => models.set(answer.models.filter((model) => (model.kind ?? "chat") === "chat")),
    () => undefined,
  );
}

export async function loadUsage(): Promise<void> {
  await rpc.call("usage.summary", {}).then(usage.set, () => undefined);
}

/** Forgets the last person's things. */
export function forgetWorkspace(): void {
  projects.set({ list: null, current: null, failure: null });
  models.set(null);
  usage.set(null);
}

/** Developers and admins may change files, run and ask; viewers look. The server decides; the page only explains. */
export function mayDevelop(): boolean {
  const now = session.state.get();
  return now.status === "signed-in" && now.user.role !== "viewer";
}
