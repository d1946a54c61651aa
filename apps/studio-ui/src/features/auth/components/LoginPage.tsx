import { useEffect, useMemo, useState, type FormEvent } from "react";
import { Button } from "@/components/ui/Button";
import { TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { session } from "@/lib/studio";
import { readAuthState, type AuthState } from "../api/state";
import { refusalOf } from "../model/refusal";
import { Frame } from "./Frame";
import { PasswordField } from "./PasswordField";

/** Seconds until the throttle lets the next attempt through. */
function useCountdown(failure: Failure | null): number {
  const [left, setLeft] = useState(0);
  useEffect(() => {
    const until = Date.now() + (failure?.name === "RATE_LIMITED" ? (failure.facts.retryAfterMs ?? 0) : 0);
    const tick = () => setLeft(Math.max(0, Math.ceil((until - Date.now()) / 1000)));
    tick();
    const timer = setInterval(tick, 250);
    return () => clearInterval(timer);
  }, [failure]);
  return left;
}

export function LoginPage() {
  const { t } = useText();
  const now = useStore(session.state);
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [working, setWorking] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [state, setState] = useState<AuthState | null>(null);
  const wait = useCountdown(failure);

  useEffect(() => {
    const stop = new AbortController();
    void readAuthState(stop.signal).then(setState);
    return () => stop.abort();
  }, []);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (working || wait > 0) return;
    setWorking(true);
    setFailure(null);
    await session.login(email.trim(), password).catch((error: unknown) => setFailure(toFailure(error)));
    setWorking(false);
  };

  const refused = useMemo(() => refusalOf(location.search), []);
  const ended = now.status === "signed-out" ? now.ended : undefined;
  return (
    <Frame version={state?.version}>
      <form onSubmit={(event) => void submit(event)} className="grid gap-5" aria-labelledby="login-title">
        <div>
          <h1 id="login-title" className="heading text-2xl">
            {t("auth.login.title")}
          </h1>
          <p className="text-muted">{t("auth.login.lead")}</p>
        </div>
        {state?.setup_needed && <p className="rounded-small border border-warn px-4 py-3">{t("auth.login.none")}</p>}
        {ended && !failure && !refused && <Problem failure={ended} compact />}
        {refused && !failure && <Problem failure={refused} compact />}
        <TextField label={t("auth.email")} type="email" autoComplete="username" required maxLength={254} autoFocus value={email} onChange={(event) => setEmail(event.target.value)} />
        <PasswordField autoComplete="current-password" value={password} onChange={setPassword} />
        {failure && <Problem failure={failure} compact />}
        {wait > 0 && (
          <p role="status" className="text-muted">
            {t("auth.login.wait", { seconds: wait })}
          </p>
        )}
        <Button look="primary" type="submit" disabled={working || wait > 0}>
          {t(working ? "auth.login.working" : "auth.login.submit")}
        </Button>
        {state?.oidc && (
          <div className="grid gap-3" data-testid="oidc">
            <p className="flex items-center gap-3 text-[0.8125rem] text-muted before:h-px before:flex-1 before:bg-edge after:h-px after:flex-1 after:bg-edge">{t("auth.oidc.or")}</p>
            <Button onClick={() => location.assign("/auth/oidc/start")}>{t("auth.oidc.with", { name: state.oidc })}</Button>
          </div>
        )}
      </form>
    </Frame>
  );
}
