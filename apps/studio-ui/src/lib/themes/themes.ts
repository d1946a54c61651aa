import { createStore } from "@/lib/store";
import { writeChoice } from "@/lib/storage";

export const themes = ["NeonCyberNight", "SerialSteel"] as const;
export type Theme = (typeof themes)[number];

/** public/theme.js chose before the first paint: the stored choice, or what the system prefers. */
const chosen = typeof document === "undefined" ? undefined : document.documentElement.dataset["theme"];
export const theme = createStore<Theme>(themes.find((name) => name === chosen) ?? "NeonCyberNight");

export function setTheme(next: Theme): void {
  document.documentElement.dataset["theme"] = next;
  writeChoice("theme", next);
  theme.set(next);
}

export const otherTheme = (now: Theme): Theme => (now === "NeonCyberNight" ? "SerialSteel" : "NeonCyberNight");

/** The value that the present theme gives to a variable, for code that paints without CSS (Monaco). */
export const themeValue = (variable: string): string => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
