import { useCallback, useEffect, useState } from "react";
import { RateDialog } from "@/components/RateDialog";
import { RateText } from "@/components/RateFields";
import { Button } from "@/components/ui/Button";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import { noRates, type Rates as RateSet } from "@/lib/rates";
import type { RateListResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";
import { NewRateDialog } from "./NewRateDialog";

type Of = RateListResult["limits"][number] | RateListResult["keys"][number];
const isKey = (of: Of): of is RateListResult["keys"][number] => "key_id" in of;
const idOf = (of: Of) => (isKey(of) ? of.key_id : of.user_id);
/** Exactly the three, so that nothing else is sent. */
const rates = ({ requests_per_minute, tokens_per_minute, concurrent_requests }: RateSet): RateSet => ({ requests_per_minute, tokens_per_minute, concurrent_requests });
const put = (of: Of, wanted: RateSet): Promise<unknown> =>
  isKey(of) ? rpc.call("key.set_rates", { key_id: of.key_id, ...wanted }) : rpc.call("rate.set", { user_id: of.user_id, ...wanted });

/** How fast users and keys may ask the model. */
export function Rates() {
  const { t } = useText();
  const [list, setList] = useState<RateListResult | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [changing, setChanging] = useState<Of | "new" | null>(null);
  const load = useCallback(() => {
    rpc.call("rate.list", {}).then(
      (answer) => {
        setList(answer);
        setFailure(null);
      },
      (error: unknown) => setFailure(toFailure(error)),
    );
  }, []);
  useEffect(() => load(), [load]);
  const close = () => setChanging(null);
  const done = () => {
    close();
    load();
  };
  const all: Of[] = list ? [...list.limits, ...list.keys] : [];
  return (
    <section className="grid grid-cols-[minmax(0,1fr)] gap-3" aria-labelledby="rates">
      <div className="flex flex-wrap items-center justify-between gap-4">
        <h2 id="rates" className="heading text-xl">
          {t("rates.title")}
        </h2>
        <span className="flex gap-2">
          <Button small icon="refresh" onClick={load}>
            {t("account.refresh")}
          </Button>
          <Button small look="primary" icon="plus" onClick={() => setChanging("new")}>
            {t("rates.set")}
          </Button>
        </span>
      </div>
      <p className="text-[0.8125rem] text-muted">{t("rates.hint")}</p>
      {failure && <Problem failure={failure} onRetry={load} />}
      {!list && !failure && <p className="text-muted">{t("common.loading")}</p>}
      {list && (
        <ul className="grid grid-cols-[minmax(0,1fr)] gap-2" aria-labelledby="rates">
          <li className="surface px-4 py-3" data-testid="rate-default">
            <span className="block font-semibold">{t("rates.everybody")}</span>
            <span className="block text-xs break-words text-muted">
              <RateText rates={list.defaults} />
            </span>
          </li>
          {all.map((of) => (
            <Row key={idOf(of)} of={of} change={() => setChanging(of)} failed={setFailure} done={done} />
          ))}
        </ul>
      )}
      {list && all.length === 0 && <p className="text-muted">{t("rates.none")}</p>}
      {changing === "new" && <NewRateDialog onClose={close} onDone={done} />}
      {changing && changing !== "new" && (
        <RateDialog
          name={isKey(changing) ? t("rates.key.of", { name: changing.name }) : changing.email}
          rates={rates(changing)}
          hint={t(isKey(changing) ? "rates.empty.key" : "rates.empty.user")}
          none={t(isKey(changing) ? "rates.any" : "rates.everybody.short")}
          save={async (wanted) => {
            await put(changing, wanted);
            done();
          }}
          onClose={close}
        />
      )}
    </section>
  );
}

interface RowProps {
  of: Of;
  change(): void;
  failed(failure: Failure): void;
  done(): void;
}

function Row({ of, change, failed, done }: RowProps) {
  const { t } = useText();
  const [asked, setAsked] = useState(false);
  const remove = () => {
    setAsked(false);
    put(of, noRates).then(done, (error: unknown) => failed(toFailure(error)));
  };
  const sure = t(isKey(of) ? "rates.remove.key" : "rates.remove.sure");
  return (
    <li className="surface grid items-center gap-3 px-4 py-3 lg:grid-cols-[minmax(0,1fr)_auto]" data-testid="rate">
      <span className="min-w-0">
        <span className="flex flex-wrap items-baseline gap-x-2">
          <span className="font-semibold break-all">{isKey(of) ? t("rates.key.of", { name: of.name }) : of.email}</span>
          {isKey(of) && <span className="text-[0.8125rem] break-all text-muted">{of.email}</span>}
        </span>
        <span className="block text-xs break-words text-muted">
          <RateText rates={of} {...(!isKey(of) && { none: t("rates.everybody.short") })} />
        </span>
      </span>
      {asked ? (
        <span className="flex flex-wrap items-center gap-2" role="group" aria-label={sure}>
          <span className="text-[0.8125rem] text-muted">{sure}</span>
          <Button small autoFocus onClick={() => setAsked(false)}>
            {t("common.cancel")}
          </Button>
          <Button small look="danger" onClick={remove}>
            {t("rates.remove.do")}
          </Button>
        </span>
      ) : (
        <span className="flex flex-wrap gap-2">
          <Button small onClick={change}>
            {t("limits.change")}
          </Button>
          <Button small look="danger" icon="trash" onClick={() => setAsked(true)}>
            {t("rates.remove")}
          </Button>
        </span>
      )}
    </li>
  );
}
