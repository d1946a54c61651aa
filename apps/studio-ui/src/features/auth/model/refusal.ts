import { Failure } from "@/lib/failure";

const setup = ["oidc.metadata", "oidc.host", "oidc.address"];
const token = ["oidc.issuer", "oidc.audience", "oidc.expired", "oidc.early", "oidc.nonce", "oidc.subject"];
const told = ["oidc.state", "oidc.denied", "oidc.code", "oidc.unverified", "oidc.domain", "oidc.unlinked", "oidc.taken", "oidc.unknown", "oidc.pending", "user.blocked", "login.busy", "login.ip"];

const wordOf = (text: string) => new URLSearchParams(text).get("oidc");

/** Did a sign-in at the provider just bring the browser back, with a session? */
export const isBack = (address: string): boolean => wordOf(address) === "ok";

/** Why a sign-in at the provider ended at the sign-in page: "?oidc=<rule>" of its address. Only rules that are known are shown; the address is anybody's to write. */
export function refusalOf(address: string): Failure | null {
  const rule = wordOf(address);
  if (rule === null || rule === "ok") return null;
  if (rule === "oidc.unreachable") return new Failure("UNAVAILABLE", { rule });
  if (setup.includes(rule)) return new Failure("UNAVAILABLE", { rule: "oidc.setup" });
  if (token.includes(rule) || rule.startsWith("jws.")) return new Failure("UNAUTHENTICATED", { rule: "oidc.token" });
  return new Failure("DENIED", { rule: told.includes(rule) ? rule : "oidc.failed" });
}
