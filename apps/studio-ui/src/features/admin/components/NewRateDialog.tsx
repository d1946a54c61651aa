import { useState } from "react";
import { RateFields } from "@/components/RateFields";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { SelectField, TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { useText } from "@/lib/i18n/i18n";
import { isLimited, noRates, rateTexts, typedRates } from "@/lib/rates";
import { rpc } from "@/lib/studio";
import { useSubmit } from "@/lib/useSubmit";
import { findUser, type Key } from "../model/find";
import { KeyField } from "./KeyField";

/** Limits of rate for a user or a key that has none yet. */
export function NewRateDialog({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const { t } = useText();
  const [of, setOf] = useState<"user" | "key">("user");
  const [email, setEmail] = useState("");
  const [unknown, setUnknown] = useState(false);
  const [key, setKey] = useState<Key | null>(null);
  const [texts, setTexts] = useState(() => rateTexts(noRates));
  const wanted = typedRates(texts);
  const { working, failure, submit } = useSubmit(async () => {
    if (!wanted) return;
    if (of === "key") {
      if (!key) return;
      await rpc.call("key.set_rates", { key_id: key.key_id, ...wanted });
    } else {
      const user = await findUser(email);
      setUnknown(!user);
      if (!user) return;
      await rpc.call("rate.set", { user_id: user.user_id, ...wanted });
    }
    onDone();
  });
  const known = of === "key" ? key !== null : email.includes("@");
  return (
    <Dialog title={t("rates.set")} onClose={onClose}>
      <form className="grid gap-4" onSubmit={submit}>
        <SelectField
          label={t("rates.of")}
          value={of}
          onChange={(event) => {
            setOf(event.target.value as typeof of);
            setKey(null);
          }}
        >
          <option value="user">{t("rates.of.user")}</option>
          <option value="key">{t("rates.of.key")}</option>
        </SelectField>
        {of === "user" ? (
          <TextField
            label={t("auth.email")}
            type="email"
            autoComplete="off"
            required
            maxLength={254}
            error={unknown ? t("rates.no_user") : undefined}
            value={email}
            onChange={(event) => {
              setEmail(event.target.value);
              setUnknown(false);
            }}
          />
        ) : (
          <KeyField onChange={setKey} />
        )}
        <RateFields texts={texts} onChange={setTexts} hint={t(of === "key" ? "rates.empty.key" : "rates.empty.user")} none={t(of === "key" ? "rates.any" : "rates.everybody.short")} />
        {failure && <Problem failure={failure} compact />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("common.cancel")}</Button>
          <Button look="primary" type="submit" disabled={working || !known || !wanted || !isLimited(wanted)}>
            {t("limits.set")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
