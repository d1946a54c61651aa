import { createStore } from "@/lib/store";
import { readChoice, writeChoice } from "@/lib/storage";
import { session } from "@/lib/studio";
import { terminalApi } from "../api/terminals";
import { Terminals } from "./terminals";

/** Every change between the characters of a screen is read aloud by screen readers; costs time, so it is a choice. */
export const readAloud = createStore<boolean>(readChoice("terminal.aloud") === "1");
export function setReadAloud(on: boolean): void {
  writeChoice("terminal.aloud", on ? "1" : null);
  readAloud.set(on);
}

/** The terminals of this page; they stay attached while other areas are shown. */
export const terminals = new Terminals(terminalApi, async () => new (await import("../xterm/screen")).XtermScreen(), {
  read: () => readChoice("terminal"),
  write: (id) => writeChoice("terminal", id),
});

session.state.subscribe(() => {
  if (session.state.get().status === "signed-out") terminals.forget();
});
