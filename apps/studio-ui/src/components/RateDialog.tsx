import { useState } from "react";
import { RateFields } from "@/components/RateFields";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { Problem } from "@/components/ui/Problem";
import { useText } from "@/lib/i18n/i18n";
import { rateTexts, typedRates, type Rates } from "@/lib/rates";
import { useSubmit } from "@/lib/useSubmit";

interface Props {
  /** Whose they are. */
  name: string;
  rates: Rates;
  hint: string;
  none: string;
  save(rates: Rates): Promise<void>;
  onClose(): void;
}

/** Other limits of rate for somebody who is known already. */
export function RateDialog({ name, rates, hint, none, save, onClose }: Props) {
  const { t } = useText();
  const [texts, setTexts] = useState(() => rateTexts(rates));
  const wanted = typedRates(texts);
  const { working, failure, submit } = useSubmit(async () => {
    if (wanted) await save(wanted);
  });
  return (
    <Dialog title={t("rates.change")} onClose={onClose}>
      <form className="grid gap-4" onSubmit={submit}>
        <p className="font-semibold break-all">{name}</p>
        <RateFields texts={texts} onChange={setTexts} hint={hint} none={none} />
        {failure && <Problem failure={failure} compact />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("common.cancel")}</Button>
          <Button look="primary" type="submit" disabled={working || !wanted}>
            {t("limits.set")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
