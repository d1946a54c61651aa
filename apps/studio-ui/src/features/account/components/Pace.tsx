import { useEffect, useState } from "react";
import { RateText } from "@/components/RateFields";
import { useText } from "@/lib/i18n/i18n";
import { isLimited } from "@/lib/rates";
import type { RateSelfResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";

/** How fast the caller may ask; asked again when the usage of the month was. */
export function Pace({ asked }: { asked: unknown }) {
  const { t } = useText();
  const [rates, setRates] = useState<RateSelfResult | null>(null);
  useEffect(() => {
    let wanted = true;
    rpc.call("rate.self", {}).then(
      (answer) => wanted && setRates(answer),
      () => wanted && setRates(null), // the page's other parts say what is wrong
    );
    return () => {
      wanted = false;
    };
  }, [asked]);
  if (!rates) return null;
  if (!isLimited(rates))
    return (
      <p className="text-muted" data-testid="pace">
        {t("rates.self.none")}
      </p>
    );
  return (
    <div className="grid gap-1" data-testid="pace">
      <p className="font-semibold">
        <RateText rates={rates} />
      </p>
      <p className="text-[0.8125rem] text-muted">
        {t(rates.own ? "rates.self.own" : "rates.self.default")} {t("rates.self.keys")}
      </p>
    </div>
  );
}
