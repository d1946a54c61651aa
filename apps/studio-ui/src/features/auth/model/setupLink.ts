import type { Failure } from "@/lib/failure";

export type LinkState = "usable" | "used" | "expired" | "invalid";

const shape = /^[A-Za-z0-9_-]{43}$/;

/** The token of "#token=...", or null when it is not 43 base64url characters. */
export function tokenOfFragment(fragment: string): string | null {
  const token = new URLSearchParams(fragment.replace(/^#/, "")).get("token");
  return token && shape.test(token) ? token : null;
}

const stateOfRule: Record<string, LinkState> = {
  "setup.used": "used",
  "setup.expired": "expired",
  "setup.unknown": "invalid",
  "invite.used": "used",
  "invite.expired": "expired",
  "invite.unknown": "invalid",
};

/** What a refusal says about the link; null: the link is fine, something else was wrong. */
export function linkStateOf(failure: Failure): LinkState | null {
  if (failure.facts.rule && failure.facts.rule in stateOfRule) return stateOfRule[failure.facts.rule] ?? null;
  return failure.facts.pointer === "/token" ? "invalid" : null;
}
