import { useState } from "react";
import { Button } from "@/components/ui/Button";
import { TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { useText } from "@/lib/i18n/i18n";
import { rpc } from "@/lib/studio";
import { useNewPassword } from "@/lib/useNewPassword";
import { useSubmit } from "@/lib/useSubmit";

/** The old one is asked for; all other sessions end. */
export function Password({ email, onChanged }: { email: string; onChanged: () => void }) {
  const { t } = useText();
  const [old, setOld] = useState("");
  const { password: fresh, setPassword: setFresh, complete, note } = useNewPassword();
  const [done, setDone] = useState<number | null>(null);
  const { working, failure, submit } = useSubmit(async () => {
    setDone(null);
    const answer = await rpc.call("user.password.change", { old_password: old, new_password: fresh });
    setOld("");
    setFresh("");
    setDone(answer.ended_sessions);
    onChanged();
  });
  return (
    <form className="grid gap-4" onSubmit={submit} aria-label={t("account.password")}>
      <input type="hidden" autoComplete="username" value={email} readOnly />
      <TextField label={t("account.password.old")} type="password" autoComplete="current-password" required maxLength={1024} value={old} onChange={(event) => setOld(event.target.value)} />
      <TextField label={t("account.password.new")} type="password" autoComplete="new-password" required maxLength={1024} hint={note} value={fresh} onChange={(event) => setFresh(event.target.value)} />
      {failure && <Problem failure={failure} compact />}
      {done !== null && (
        <p role="status" className="text-ok">
          {t("account.password.done", { count: done })}
        </p>
      )}
      <Button look="primary" type="submit" disabled={working || old === "" || !complete} className="justify-self-start">
        {t(working ? "account.password.working" : "account.password.change")}
      </Button>
    </form>
  );
}
