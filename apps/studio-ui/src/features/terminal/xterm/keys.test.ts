import { describe, expect, it } from "vitest";
import { isOurKey } from "./keys";

const key = (more: Partial<KeyboardEvent>) => ({ key: "", code: "", altKey: false, ctrlKey: false, metaKey: false, shiftKey: false, ...more });

describe("keys in a terminal", () => {
  it.each([
    ["the list of commands", key({ key: "F1" })],
    ["the way out", key({ key: "F6" })],
    ["an area", key({ key: "3", code: "Digit3", altKey: true })],
    ["paste", key({ key: "V", code: "KeyV", ctrlKey: true, shiftKey: true })],
  ])("%s stays with the page", (_name, event) => expect(isOurKey(event)).toBe(true));

  it.each([
    ["control C", key({ key: "c", code: "KeyC", ctrlKey: true })],
    ["Tab", key({ key: "Tab", code: "Tab" })],
    ["Escape", key({ key: "Escape", code: "Escape" })],
    ["Alt and a letter", key({ key: "b", code: "KeyB", altKey: true })],
    ["a digit", key({ key: "3", code: "Digit3" })],
  ])("%s goes to the program", (_name, event) => expect(isOurKey(event)).toBe(false));
});
