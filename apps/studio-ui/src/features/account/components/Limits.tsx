import { useEffect, useState } from "react";
import { LimitMeter, type Limit } from "@/components/LimitMeter";
import { Button } from "@/components/ui/Button";
import { useText } from "@/lib/i18n/i18n";
import { rpc } from "@/lib/studio";
import { DryRun } from "./DryRun";

/** What limits the caller and their API keys; asked again when the usage of the month was. */
export function Limits({ asked }: { asked: unknown }) {
  const { t } = useText();
  const [limits, setLimits] = useState<Limit[]>([]);
  const [trying, setTrying] = useState(false);
  useEffect(() => {
    let wanted = true;
    rpc.call("budget.self", {}).then(
      (answer) => wanted && setLimits(answer.policies),
      () => wanted && setLimits([]), // the page's other parts say what is wrong
    );
    return () => {
      wanted = false;
    };
  }, [asked]);
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      {limits.length === 0 && <p className="text-muted">{t("limits.self.none")}</p>}
      <ul className="grid grid-cols-[minmax(0,1fr)] gap-4" aria-label={t("limits.title")}>
        {limits.map((limit) => (
          <li key={limit.policy_id} data-testid="limit">
            <LimitMeter limit={limit} />
          </li>
        ))}
      </ul>
      <Button small className="justify-self-start" onClick={() => setTrying(true)}>
        {t("dryrun.open")}
      </Button>
      {trying && <DryRun onClose={() => setTrying(false)} />}
    </div>
  );
}
