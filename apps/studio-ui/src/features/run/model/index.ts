import { rpc, session } from "@/lib/studio";
import { createStore } from "@/lib/store";
import { emptyForm, type RunForm } from "./form";
import { Runs } from "./runs";

/** The runs of this page and what is typed in the form; both outlive a change of the tab. */
export const runs = new Runs((params, options) => rpc.call("run.exec", params, options));
export const form = createStore<RunForm>(emptyForm);

session.state.subscribe(() => {
  if (session.state.get().status !== "signed-out") return;
  runs.forget();
  form.set(emptyForm);
});
