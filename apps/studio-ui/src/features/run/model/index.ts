import { rpc, session } from "@/lib/studio";
import { createStore } from "@/lib/store";
import { Images } from "./images";
import { emptyForm, type RunForm, type RunLanguage } from "./form";
import { Runs } from "./runs";

/** The runs of this page and what is typed in the form; both outlive a change of the tab. */
export const runs = new Runs((params, options) => rpc.call("run.exec", params, options));
export const images = new Images(() => rpc.call("image.list", {}));
export const form = createStore<RunForm>(emptyForm);

/** Runs a file; the form of the Run page then holds it, ready to be changed and run again. */
export function runFile(project: string, path: string, language: RunLanguage): void {
  form.set((now) => ({ ...now, source: "file", path, language }));
  void runs.start({ project, path, language });
}

session.state.subscribe(() => {
  if (session.state.get().status !== "signed-out") return;
  runs.forget();
  images.forget();
  form.set(emptyForm);
});
