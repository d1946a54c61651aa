/** Leaves the terminal for its tabs; stands on the screen. */
export const leaveKey = "F6";

/** Keys of the page and of the browser that a terminal does not take: the list of commands, the areas, paste. */
export function isOurKey(event: Pick<KeyboardEvent, "key" | "code" | "altKey" | "ctrlKey" | "metaKey" | "shiftKey">): boolean {
  if (event.key === "F1" || event.key === leaveKey) return true;
  if (event.altKey && !event.ctrlKey && !event.metaKey && /^Digit[1-6]$/.test(event.code)) return true;
  return event.ctrlKey && event.shiftKey && event.code === "KeyV";
}
