import { createStore, useStore } from "@/lib/store";
import { readChoice, writeChoice } from "@/lib/storage";
import { de } from "./de";
import { en } from "./en";

export type TextKey = keyof typeof en;
export type Language = "en" | "de";
export const languages: readonly Language[] = ["en", "de"];
export const tables: Record<Language, Record<TextKey, string>> = { en, de };

function firstLanguage(): Language {
  const stored = readChoice("language");
  if (stored === "en" || stored === "de") return stored;
  return typeof navigator !== "undefined" && navigator.language?.toLowerCase().startsWith("de") ? "de" : "en";
}

export const language = createStore<Language>(firstLanguage());

export function setLanguage(next: Language): void {
  writeChoice("language", next);
  language.set(next);
}

export type Values = Record<string, string | number>;

/** {name} in a text is replaced by values.name; a missing value stays visible as {name}. */
export function fill(text: string, values?: Values): string {
  return values ? text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole)) : text;
}

export type Translate = (key: TextKey, values?: Values) => string;

const translators: Record<Language, Translate> = {
  en: (key, values) => fill(en[key], values),
  de: (key, values) => fill(de[key], values),
};

export const translate: Translate = (key, values) => translators[language.get()](key, values);

/** The translator and the locale of the present language; the component renders again when it changes. */
export function useText(): { t: Translate; locale: string } {
  const now = useStore(language);
  return { t: translators[now], locale: now === "de" ? "de-DE" : "en-GB" };
}

/** The key of the page's own words for a rule that refused; undefined: it has none. */
export function ruleKey(rule: string | undefined): TextKey | undefined {
  const key = `rule.${rule ?? ""}`;
  return key in en ? (key as TextKey) : undefined;
}
