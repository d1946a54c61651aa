import { useState } from "react";
import { RateFields } from "@/components/RateFields";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { SelectField, TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { useText } from "@/lib/i18n/i18n";
import { noRates, rateNames, rateTexts, typedRates } from "@/lib/rates";
import type { KeyCreateParams } from "@/lib/rpc/methods.gen";
import type { User } from "@/lib/session/session";
import { rpc } from "@/lib/studio";
import { useSubmit } from "@/lib/useSubmit";
import { daysOf, rolesUpTo, scopes, wordsOf } from "../model/keys";

const lives = [30, 90, 365, 0];

export function KeyDialog({ role, onClose, onMade }: { role: User["role"]; onClose: () => void; onMade: (key: string) => void }) {
  const { t } = useText();
  const [name, setName] = useState("");
  const [least, setLeast] = useState<User["role"]>(role);
  const [days, setDays] = useState(90);
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const [models, setModels] = useState("");
  const [texts, setTexts] = useState(() => rateTexts(noRates));
  const rates = typedRates(texts);
  const { working, failure, submit } = useSubmit(async () => {
    const wanted = wordsOf(models);
    const made = await rpc.call("key.create", {
      name: name.trim(),
      role: least,
      ...(chosen.length > 0 && { scopes: chosen as NonNullable<KeyCreateParams["scopes"]> }),
      ...(wanted.length > 0 && { models: wanted }),
      ...Object.fromEntries(rateNames.flatMap((one) => (rates?.[one] ? [[one, rates[one]]] : []))),
      ...(days > 0 && { expires_in_s: daysOf(days) }),
    });
    onMade(made.key);
  });
  return (
    <Dialog title={t("keys.make")} onClose={onClose}>
      <form className="grid gap-4" onSubmit={submit}>
        <TextField label={t("keys.name")} required maxLength={100} autoComplete="off" value={name} onChange={(event) => setName(event.target.value)} />
        <div className="grid gap-4 sm:grid-cols-2">
          <SelectField label={t("account.role")} value={least} onChange={(event) => setLeast(event.target.value as User["role"])}>
            {rolesUpTo(role).map((one) => (
              <option key={one} value={one}>
                {t(`account.role.${one}`)}
              </option>
            ))}
          </SelectField>
          <SelectField label={t("keys.life")} value={days} onChange={(event) => setDays(Number(event.target.value))}>
            {lives.map((one) => (
              <option key={one} value={one}>
                {one > 0 ? t("keys.days", { count: one }) : t("keys.forever")}
              </option>
            ))}
          </SelectField>
        </div>
        <fieldset className="grid gap-2">
          <legend className="label text-muted">{t("keys.scopes")}</legend>
          <span className="flex flex-wrap gap-x-4 gap-y-2">
            {scopes.map((one) => (
              <label key={one} className="flex items-center gap-1.5 font-mono text-[0.8125rem]">
                <input type="checkbox" checked={chosen.includes(one)} onChange={(event) => setChosen(event.target.checked ? [...chosen, one] : chosen.filter((other) => other !== one))} />
                {one}
              </label>
            ))}
          </span>
          <span className="text-[0.8125rem] text-muted">{t("keys.scopes.hint")}</span>
        </fieldset>
        <TextField label={t("keys.models")} hint={t("keys.models.hint")} autoComplete="off" spellCheck={false} className="font-mono" maxLength={560} value={models} onChange={(event) => setModels(event.target.value)} />
        <RateFields texts={texts} onChange={setTexts} hint={t("rates.empty.key")} none={t("rates.any")} />
        {failure && <Problem failure={failure} compact />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("common.cancel")}</Button>
          <Button look="primary" type="submit" disabled={working || name.trim() === "" || !rates}>
            {t("keys.make.do")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
