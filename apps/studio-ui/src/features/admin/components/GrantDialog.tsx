import { useEffect, useState } from "react";
import { amount, LimitMeter, type Limit } from "@/components/LimitMeter";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { moment } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { BudgetGrantsResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";
import { useSubmit } from "@/lib/useSubmit";
import { typed } from "../model/budgets";

/** Gives or takes in the window of now. The id is made once: a second click is the same grant. */
export function GrantDialog({ limit, onClose, onDone }: { limit: Limit; onClose: () => void; onDone: () => void }) {
  const { t, locale } = useText();
  const [id] = useState(() => crypto.randomUUID());
  const [count, setCount] = useState("");
  const [reason, setReason] = useState("");
  const [before, setBefore] = useState<BudgetGrantsResult["grants"]>([]);
  useEffect(() => {
    rpc.call("budget.grants", { policy_id: limit.policy_id, limit: 5 }).then(
      (answer) => setBefore(answer.grants),
      () => setBefore([]),
    );
  }, [limit.policy_id]);
  const value = typed(count, limit.unit);
  const wrong = count !== "" && count !== "-" && !value ? t("limits.grant.number") : undefined;
  const { working, failure, submit } = useSubmit(async () => {
    await rpc.call("budget.grant", { grant_id: id, policy_id: limit.policy_id, amount: value ?? 0, reason: reason.trim() });
    onDone();
  });
  return (
    <Dialog title={t("limits.give.title")} onClose={onClose}>
      <form className="grid gap-4" onSubmit={submit}>
        <LimitMeter limit={limit} />
        <TextField
          label={t("limits.amount", { unit: t(`limits.unit.${limit.unit}`) })}
          hint={t("limits.amount.hint")}
          inputMode="decimal"
          required
          error={wrong}
          value={count}
          onChange={(event) => setCount(event.target.value)}
        />
        <TextField label={t("limits.reason")} required minLength={3} maxLength={500} value={reason} onChange={(event) => setReason(event.target.value)} />
        {before.length > 0 && (
          <div className="grid gap-1.5">
            <h3 id="before" className="label text-muted">
              {t("limits.before")}
            </h3>
            <ul className="grid gap-1 text-[0.8125rem] text-muted" aria-labelledby="before">
            {before.map((grant) => (
              <li key={grant.grant_id} className="break-words">
                {`${grant.amount > 0 ? "+" : ""}${amount(grant, grant.amount, locale)} · ${grant.reason} · ${grant.actor ?? grant.actor_id} · ${moment(new Date(grant.at), locale)}`}
              </li>
            ))}
            </ul>
          </div>
        )}
        {failure && <Problem failure={failure} compact />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("common.cancel")}</Button>
          <Button look="primary" type="submit" disabled={working || !value || reason.trim().length < 3}>
            {t("limits.book")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
