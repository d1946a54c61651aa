/** GET /auth/state: whether the studio has no admin yet, and its version. */
export interface AuthState {
  setup_needed: boolean;
  version: string;
}

export async function readAuthState(signal: AbortSignal): Promise<AuthState | null> {
  try {
    const answer = await fetch("/auth/state", { headers: { Accept: "application/json" }, signal });
    return answer.ok ? ((await answer.json()) as AuthState) : null;
  } catch {
    return null; // the form still works; what is wrong shows when it is sent
  }
}
