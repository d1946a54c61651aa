import { useCallback, useEffect, useState } from "react";
import { LimitMeter, type Limit } from "@/components/LimitMeter";
import { Button } from "@/components/ui/Button";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import { rpc } from "@/lib/studio";
import { BudgetDialog } from "./BudgetDialog";
import { DryRun } from "./DryRun";
import { GrantDialog } from "./GrantDialog";

/** The limits of the studio, its users, keys and models. */
export function Budgets() {
  const { t } = useText();
  const [limits, setLimits] = useState<Limit[] | null>(null);
  const [next, setNext] = useState<string | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [changing, setChanging] = useState<Limit | "new" | null>(null);
  const [giving, setGiving] = useState<Limit | null>(null);
  const [trying, setTrying] = useState(false);
  const load = useCallback((cursor?: string) => {
    rpc.call("budget.list", cursor ? { cursor } : {}).then(
      (answer) => {
        setLimits((before) => (cursor && before ? [...before, ...answer.policies] : answer.policies));
        setNext(answer.next_cursor);
        setFailure(null);
      },
      (error: unknown) => setFailure(toFailure(error)),
    );
  }, []);
  useEffect(() => load(), [load]);
  const done = () => {
    setChanging(null);
    setGiving(null);
    load();
  };
  return (
    <section className="grid grid-cols-[minmax(0,1fr)] gap-3" aria-labelledby="limits">
      <div className="flex flex-wrap items-center justify-between gap-4">
        <h2 id="limits" className="heading text-xl">
          {t("limits.title")}
        </h2>
        <span className="flex gap-2">
          <Button small icon="refresh" onClick={() => load()}>
            {t("account.refresh")}
          </Button>
          <Button small onClick={() => setTrying(true)}>
            {t("dryrun.open")}
          </Button>
          <Button small look="primary" icon="plus" onClick={() => setChanging("new")}>
            {t("limits.new")}
          </Button>
        </span>
      </div>
      {failure && <Problem failure={failure} onRetry={() => load()} />}
      {!limits && !failure && <p className="text-muted">{t("common.loading")}</p>}
      {limits?.length === 0 && <p className="text-muted">{t("limits.none")}</p>}
      <ul className="grid grid-cols-[minmax(0,1fr)] gap-2" aria-label={t("limits.title")}>
        {limits?.map((limit) => (
          <Row key={limit.policy_id} limit={limit} change={() => setChanging(limit)} give={() => setGiving(limit)} failed={setFailure} done={done} />
        ))}
      </ul>
      {next && (
        <Button className="justify-self-center" onClick={() => load(next)}>
          {t("common.more")}
        </Button>
      )}
      {changing && <BudgetDialog limit={changing === "new" ? null : changing} onClose={() => setChanging(null)} onDone={done} />}
      {giving && <GrantDialog limit={giving} onClose={() => setGiving(null)} onDone={done} />}
      {trying && <DryRun onClose={() => setTrying(false)} />}
    </section>
  );
}

interface RowProps {
  limit: Limit;
  change(): void;
  give(): void;
  failed(failure: Failure): void;
  done(): void;
}

function Row({ limit, change, give, failed, done }: RowProps) {
  const { t } = useText();
  const [asked, setAsked] = useState(false);
  const remove = () => {
    setAsked(false);
    rpc.call("budget.remove", { policy_id: limit.policy_id }).then(done, (error: unknown) => failed(toFailure(error)));
  };
  return (
    <li className="surface grid items-center gap-3 px-4 py-3 lg:grid-cols-[minmax(0,1fr)_auto]" data-testid="limit">
      <LimitMeter limit={limit} />
      {asked ? (
        <span className="flex flex-wrap items-center gap-2" role="group" aria-label={t("limits.remove.sure")}>
          <span className="text-[0.8125rem] text-muted">{t("limits.remove.sure")}</span>
          <Button small autoFocus onClick={() => setAsked(false)}>
            {t("common.cancel")}
          </Button>
          <Button small look="danger" onClick={remove}>
            {t("limits.remove.do")}
          </Button>
        </span>
      ) : (
        <span className="flex flex-wrap gap-2">
          <Button small onClick={give}>
            {t("limits.give")}
          </Button>
          <Button small onClick={change}>
            {t("limits.change")}
          </Button>
          <Button small look="danger" icon="trash" onClick={() => setAsked(true)}>
            {t("limits.remove")}
          </Button>
        </span>
      )}
    </li>
  );
}
