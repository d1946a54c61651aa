/** GET /auth/state: whether the studio has no admin yet, its version, and the provider to sign in with. */
export interface AuthState {
  setup_needed: boolean;
  version: string;
  /** What the OpenID provider is called; null: there is none. */
  oidc?: string | null;
}

export async function readAuthState(signal: AbortSignal): Promise<AuthState | null> {
  try {
    const answer = await fetch("/auth/state", { headers: { Accept: "application/json" }, signal });
    return answer.ok ? ((await answer.json()) as AuthState) : null;
  } catch {
    return null; // the form still works; what is wrong shows when it is sent
  }
}
