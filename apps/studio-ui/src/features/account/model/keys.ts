import type { User } from "@/lib/session/session";

/** The groups of methods that a key is often kept to; without any it may call all. */
export const scopes = ["llm", "fs", "run", "term", "project", "preview", "usage", "user", "logs"] as const;

const rising: readonly User["role"][] = ["viewer", "developer", "admin"];

/** A key is at most what its maker is. */
export const rolesUpTo = (role: User["role"]): readonly User["role"][] => rising.slice(0, rising.indexOf(role) + 1);

export const daysOf = (days: number): number => days * 86_400;

/** Names that blanks or commas separate, each once. */
export const wordsOf = (text: string): string[] => [...new Set(text.split(/[\s,]+/).filter(Boolean))];
