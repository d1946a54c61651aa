import { useState, type FormEvent } from "react";
import { Button } from "@/components/ui/Button";
import { TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import { rpc } from "@/lib/studio";

const least = 12;

/** The old one is asked for; all other sessions end. */
export function Password({ email, onChanged }: { email: string; onChanged: () => void }) {
  const { t } = useText();
  const [old, setOld] = useState("");
  const [fresh, setFresh] = useState("");
  const [working, setWorking] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [done, setDone] = useState<number | null>(null);
  const missing = least - [...fresh].length;
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (working) return;
    setWorking(true);
    setFailure(null);
    setDone(null);
    try {
      const answer = await rpc.call("user.password.change", { old_password: old, new_password: fresh });
      setOld("");
      setFresh("");
      setDone(answer.ended_sessions);
      onChanged();
    } catch (error) {
      setFailure(toFailure(error));
    }
    setWorking(false);
  };
  const note = fresh === "" ? t("auth.password.rule") : missing > 0 ? t("auth.password.left", { count: missing }) : t("auth.password.long");
  return (
    <form className="grid gap-4" onSubmit={(event) => void submit(event)} aria-label={t("account.password")}>
      <input type="hidden" autoComplete="username" value={email} readOnly />
      <TextField label={t("account.password.old")} type="password" autoComplete="current-password" required maxLength={1024} value={old} onChange={(event) => setOld(event.target.value)} />
      <TextField label={t("account.password.new")} type="password" autoComplete="new-password" required maxLength={1024} hint={note} value={fresh} onChange={(event) => setFresh(event.target.value)} />
      {failure && <Problem failure={failure} compact />}
      {done !== null && (
        <p role="status" className="text-ok">
          {t("account.password.done", { count: done })}
        </p>
      )}
      <Button look="primary" type="submit" disabled={working || old === "" || missing > 0} className="justify-self-start">
        {t(working ? "account.password.working" : "account.password.change")}
      </Button>
    </form>
  );
}
