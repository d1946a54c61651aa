import { useState, type ReactNode } from "react";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { SelectField, TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { credits, day, integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { BudgetCheckResult } from "@/lib/rpc/methods.gen";
import { useSubmit } from "@/lib/useSubmit";
import { amount } from "./LimitMeter";

interface Props {
  /** Models that have a price. */
  models: readonly string[];
  /** Whose request it would be, where that can be chosen. */
  who?: ReactNode;
  /** Name of the user in the limits that would refuse it. */
  name: string;
  ready: boolean;
  /** null: it could not be asked, and why is shown in `who`. */
  ask(model: string, prompt: number, answer: number): Promise<BudgetCheckResult | null>;
  onClose(): void;
}

const tokens = (text: string) => (/^\d{1,9}$/.test(text.trim()) && Number(text) <= 100_000_000 ? Number(text) : null);

/** Would a request be let in, and what could it cost? Nothing is held. */
export function DryRunDialog({ models, who, name, ready, ask, onClose }: Props) {
  const { t } = useText();
  const [model, setModel] = useState(models[0] ?? "");
  const [prompt, setPrompt] = useState("1000");
  const [answer, setAnswer] = useState("1000");
  const [result, setResult] = useState<{ check: BudgetCheckResult; model: string } | null>(null);
  const read = tokens(prompt);
  const written = tokens(answer);
  const { working, failure, submit } = useSubmit(async () => {
    setResult(null);
    const check = await ask(model, read ?? 0, written ?? 0);
    setResult(check && { check, model });
  });
  const field = (label: string, text: string, value: number | null, set: (text: string) => void) => (
    <TextField label={label} inputMode="numeric" required maxLength={9} value={text} error={value === null ? t("dryrun.number") : undefined} onChange={(event) => set(event.target.value)} />
  );
  return (
    <Dialog title={t("dryrun.title")} onClose={onClose}>
      <form className="grid gap-4" onSubmit={submit}>
        <p className="text-muted">{t("dryrun.what")}</p>
        {who}
        <SelectField label={t("account.model")} value={model} onChange={(event) => setModel(event.target.value)}>
          {models.map((one) => (
            <option key={one} value={one}>
              {one}
            </option>
          ))}
        </SelectField>
        <div className="grid gap-4 sm:grid-cols-2">
          {field(t("dryrun.prompt"), prompt, read, setPrompt)}
          {field(t("dryrun.answer"), answer, written, setAnswer)}
        </div>
        {models.length === 0 && <p className="text-muted">{t("dryrun.none")}</p>}
        {failure && <Problem failure={failure} compact />}
        {result && <Outcome result={result.check} model={result.model} name={name} />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("common.close")}</Button>
          <Button look="primary" type="submit" disabled={working || !ready || model === "" || read === null || written === null}>
            {t("dryrun.ask")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function Outcome({ result, model, name }: { result: BudgetCheckResult; model: string; name: string }) {
  const { t, locale } = useText();
  const [look, word] = !result.admitted ? ["text-danger", "no"] as const : result.complete ? ["text-ok", "yes"] as const : ["text-warn", "part"] as const;
  const lines = result.admitted ? result.short_of : result.refused_by;
  return (
    <section className="grid gap-2 rounded-small border border-line bg-raised px-3 py-2" aria-live="polite" data-testid="dryrun">
      <p className={`font-semibold ${look}`}>{t(`dryrun.${word}`)}</p>
      <p className="text-[0.8125rem]">
        {t("dryrun.cost", { least: credits(result.cost_at_least, locale), most: credits(result.cost_at_most, locale) })}
        {" · "}
        {t("dryrun.held", { first: integer(result.held_tokens, locale), most: integer(result.tokens_at_most, locale) })}
      </p>
      {lines.length > 0 && (
        <ul className="grid gap-1 text-[0.8125rem] text-muted" aria-label={t("limits.title")}>
          {lines.map((line) => (
            <li key={line.policy} className="break-words">
              <span className="text-text">{t(`limits.scope.${line.scope}`, { name: name || t("limits.you"), model })}</span>
              {" · "}
              {t(`limits.window.${line.window}`)}
              {": "}
              {t("dryrun.line", {
                left: amount(line, line.remaining, locale),
                most: amount(line, line.limit, locale),
                unit: t(`limits.unit.${line.unit}`),
                needs: amount(line, result.admitted ? line.needs_at_most : line.needs, locale),
              })}
              {line.resets_at && ` · ${t("limits.until", { time: day(new Date(line.resets_at), locale) })}`}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
