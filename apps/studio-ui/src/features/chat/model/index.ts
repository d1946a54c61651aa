import { createStore } from "@/lib/store";
import { readChoice, writeChoice } from "@/lib/storage";
import { rpc, session } from "@/lib/studio";
import { loadModels, loadUsage } from "@/lib/workspace";
import { Chat, type AskOptions } from "./chat";

export const chat = new Chat((params, options) => rpc.call("llm.chat", params, options), {
  onSettled: () => {
    void loadUsage();
    void loadModels();
  },
});

export const lengths = [64, 128, 256, 512, 1024, 2048] as const;

const storedLength = Number(readChoice("chat.length"));
export const options = createStore<AskOptions>({ model: null, maxTokens: lengths.find((one) => one === storedLength) ?? 512 });

export function changeOptions(part: Partial<AskOptions>): void {
  options.set((now) => ({ ...now, ...part }));
  writeChoice("chat.length", String(options.get().maxTokens));
}

/** What is being typed; it outlives a change of the tab. */
export const draft = createStore("");

session.state.subscribe(() => {
  if (session.state.get().status !== "signed-out") return;
  chat.clear();
  draft.set("");
});
