import { session } from "@/lib/studio";
import { filesOf, type Files } from "../api/files";
import { Documents, type MakeBuffer } from "./documents";
import { firstFileOf } from "./paths";
import { Tree } from "./tree";

export interface Workbench {
  files: Files;
  tree: Tree;
  documents: Documents;
}

/** One per project, kept while the page lives: switching the project loses no unsaved text. */
const workbenches = new Map<string, Workbench>();

const makeBuffer: MakeBuffer = async (path, text, onChange) => (await import("../monaco/monaco")).makeBuffer(path, text, onChange);

export function workbenchOf(project: string): Workbench {
  const known = workbenches.get(project);
  if (known) return known;
  const files = filesOf(project);
  const made = { files, tree: new Tree(files), documents: new Documents(files, makeBuffer) };
  workbenches.set(project, made);
  // The editor is fetched while the files are listed.
  void import("../monaco/monaco");
  void openFirst(made);
  return made;
}

async function openFirst({ tree, documents }: Workbench): Promise<void> {
  await tree.load("");
  const names = (tree.state.get().folders[""]?.entries ?? []).filter((entry) => entry.type === "file").map((entry) => entry.name);
  const first = firstFileOf(names);
  if (!first || documents.state.get().files.length > 0) return;
  tree.select(first);
  await documents.open(first);
}

export const hasUnsaved = (): boolean => [...workbenches.values()].some(({ documents }) => documents.hasUnsaved());

// What one person had open is not left for the next one.
session.state.subscribe(() => {
  if (session.state.get().status !== "signed-out") return;
  for (const { documents } of workbenches.values()) documents.dispose();
  workbenches.clear();
});
