import { errorCodes, type ErrorName } from "@/lib/rpc/methods.gen";

/** Failures that the page itself finds, beside those a server names. */
export type FailureName = ErrorName | "OFFLINE" | "CONNECTION_LOST" | "BAD_ANSWER";

export interface FailureFacts {
  /** The server's sentence: what happened and why. */
  detail?: string | undefined;
  /** The server's advice. */
  hint?: string | undefined;
  /** Rule that refused, such as "fs.symlink". */
  rule?: string | undefined;
  requestId?: string | undefined;
  retryAfterMs?: number | undefined;
  /** JSON Pointer of the wrong parameter. */
  pointer?: string | undefined;
}

/** Every call of the page fails with one of these, whether it went over HTTP or the socket. */
export class Failure extends Error {
  readonly facts: FailureFacts;
  override readonly name: FailureName;

  constructor(name: FailureName, facts: FailureFacts = {}) {
    super(facts.detail ?? name);
    this.name = name;
    this.facts = facts;
  }
}

const nameOfCode = new Map<number, ErrorName>(Object.entries(errorCodes).map(([name, code]) => [code, name as ErrorName]));

const text = (value: unknown): string | undefined => (typeof value === "string" && value ? value : undefined);

function factsOf(problem: unknown, detail?: string): FailureFacts {
  const p = (problem && typeof problem === "object" ? problem : {}) as Record<string, unknown>;
  const errors = Array.isArray(p["errors"]) ? (p["errors"] as Record<string, unknown>[]) : [];
  return {
    detail: text(p["detail"]) ?? detail,
    hint: text(p["hint"]),
    rule: text(p["rule"]),
    requestId: text(p["request_id"]),
    retryAfterMs: typeof p["retry_after_ms"] === "number" ? p["retry_after_ms"] : undefined,
    pointer: text(errors[0]?.["pointer"]),
  };
}

/** From the error member of a JSON-RPC answer; data is an RFC 9457 problem. */
export function failureOfRpc(error: { code: number; message: string; data?: unknown }): Failure {
  return new Failure(nameOfCode.get(error.code) ?? "INTERNAL", factsOf(error.data, error.message));
}

const nameOfStatus: Record<number, ErrorName> = {
  400: "BAD_PARAM",
  401: "UNAUTHENTICATED",
  403: "DENIED",
  404: "NOT_FOUND",
  409: "CONFLICT",
  413: "TOO_LARGE",
  429: "RATE_LIMITED",
  502: "UNAVAILABLE",
  503: "UNAVAILABLE",
  504: "TIMED_OUT",
  507: "EXHAUSTED",
};

/** From an HTTP answer that is not 2xx; problem is its parsed body, or null when it had none. */
export function failureOfHttp(status: number, problem: unknown): Failure {
  const type = (problem as { type?: unknown } | null)?.type;
  const named = typeof type === "string" ? type.split(":").pop()?.toUpperCase().replaceAll("-", "_") : undefined;
  const known = named && named in errorCodes ? (named as ErrorName) : undefined;
  return new Failure(known ?? nameOfStatus[status] ?? "INTERNAL", factsOf(problem));
}

export function toFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  return new Failure("BAD_ANSWER", { detail: error instanceof Error ? error.message : String(error) });
}
