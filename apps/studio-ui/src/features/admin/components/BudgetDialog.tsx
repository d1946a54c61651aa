import { useState } from "react";
import type { Limit } from "@/components/LimitMeter";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { SelectField, TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { useText } from "@/lib/i18n/i18n";
import { rpc } from "@/lib/studio";
import { useSubmit } from "@/lib/useSubmit";
import { needs, percents, plain, scopes, typed, units, windows, type Scope, type Unit, type Window } from "../model/budgets";
import { KeyField } from "./KeyField";

/** A new limit, or another number and zone for one. */
export function BudgetDialog({ limit, onClose, onDone }: { limit: Limit | null; onClose: () => void; onDone: () => void }) {
  const { t } = useText();
  const [scope, setScope] = useState<Scope>(limit?.scope ?? "user");
  const [email, setEmail] = useState(limit?.email ?? "");
  const [key, setKey] = useState(limit?.key_id ?? "");
  const [model, setModel] = useState(limit?.model ?? "");
  const [unit, setUnit] = useState<Unit>(limit?.unit ?? "tokens");
  const [window, setWindow] = useState<Window>(limit?.window ?? "month");
  const [zone, setZone] = useState(limit?.zone ?? "UTC");
  const [most, setMost] = useState(limit ? plain(limit.limit, limit.unit) : "");
  const [soft, setSoft] = useState((limit?.soft ?? [50, 80, 95]).join(", "));
  const names = needs(scope);
  const warnings = percents(soft);
  const value = typed(most, unit);
  const wrong = most !== "" && (value === null || value < 0) ? t(unit === "microcredits" ? "limits.number.credits" : "limits.number") : undefined;
  const { working, failure, submit } = useSubmit(async () => {
    await rpc.call("budget.set", {
      scope,
      unit,
      window,
      zone: zone.trim() || "UTC",
      limit: value ?? 0,
      soft: warnings ?? [],
      ...(names.user && { email: email.trim() }),
      ...(names.key && { key_id: key.trim() }),
      ...(names.model && { model: model.trim() }),
    });
    onDone();
  });
  const fixed = limit !== null; // what it is about is what it is: another one is another limit
  return (
    <Dialog title={t(fixed ? "limits.change.title" : "limits.new")} onClose={onClose}>
      <form className="grid gap-4" onSubmit={submit}>
        <SelectField label={t("limits.scope")} disabled={fixed} value={scope} onChange={(event) => setScope(event.target.value as Scope)}>
          {scopes.map((one) => (
            <option key={one} value={one}>
              {t(`limits.kind.${one}`)}
            </option>
          ))}
        </SelectField>
        {names.user && (
          <TextField label={t("auth.email")} type="email" autoComplete="off" required disabled={fixed} maxLength={254} value={email} onChange={(event) => setEmail(event.target.value)} />
        )}
        {names.key && (fixed ? <TextField label={t("rates.key")} disabled value={limit.key_name ?? key} /> : <KeyField onChange={(chosen) => setKey(chosen?.key_id ?? "")} />)}
        {names.model && <TextField label={t("account.model")} required disabled={fixed} maxLength={64} value={model} onChange={(event) => setModel(event.target.value)} />}
        <div className="grid gap-4 sm:grid-cols-2">
          <SelectField label={t("limits.unit")} disabled={fixed} value={unit} onChange={(event) => setUnit(event.target.value as Unit)}>
            {units.map((one) => (
              <option key={one} value={one}>
                {t(`limits.unit.${one}`)}
              </option>
            ))}
          </SelectField>
          <SelectField label={t("limits.window")} disabled={fixed} value={window} onChange={(event) => setWindow(event.target.value as Window)}>
            {windows.map((one) => (
              <option key={one} value={one}>
                {t(`limits.window.${one}`)}
              </option>
            ))}
          </SelectField>
          <TextField label={t("limits.most")} inputMode="decimal" required error={wrong} value={most} onChange={(event) => setMost(event.target.value)} />
          <TextField label={t("limits.zone")} hint={t("limits.zone.hint")} maxLength={64} value={zone} onChange={(event) => setZone(event.target.value)} />
        </div>
        <TextField label={t("limits.soft")} hint={t("limits.soft.hint")} autoComplete="off" maxLength={40} error={warnings ? undefined : t("limits.soft.wrong")} value={soft} onChange={(event) => setSoft(event.target.value)} />
        {failure && <Problem failure={failure} compact />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("common.cancel")}</Button>
          <Button look="primary" type="submit" disabled={working || value === null || value < 0 || !warnings || (names.key && key === "")}>
            {t("limits.set")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
