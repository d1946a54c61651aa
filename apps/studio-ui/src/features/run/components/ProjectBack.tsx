import { Icon } from "@/components/ui/Icon";
import { bytes, integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { RunExecResult } from "@/lib/rpc/methods.gen";

type Back = NonNullable<RunExecResult["project_back"]>;

/** What a program in a microVM has changed in its copy of the project, what of it came back, and what did not. */
export function ProjectBack({ back }: { back: Back }) {
  const { t, locale } = useText();
  const n = (value: number) => integer(value, locale);
  const facts = (
    [
      [t("run.back.written"), back.written, `${n(back.written)} (${bytes(back.bytes, locale)})`],
      [t("run.back.folders"), back.folders, n(back.folders)],
      [t("run.back.deleted"), back.deleted, n(back.deleted)],
      [t("run.back.conflicts"), back.conflicts, n(back.conflicts)],
      [t("run.back.refused"), back.refused, n(back.refused)],
    ] as const
  ).filter(([, count]) => count > 0);
  const untold = back.conflicts + back.refused - back.told.length;
  return (
    <section className="grid max-h-48 gap-1.5 overflow-y-auto border-b border-line px-4 py-2 text-[0.8125rem]" aria-label={t("run.back.title")} data-testid="project-back">
      <div className="flex flex-wrap items-baseline gap-x-5 gap-y-1">
        <h3 className="label text-muted">{t("run.back.title")}</h3>
        {facts.length === 0 && !back.reason && <p>{t("run.back.nothing")}</p>}
        <dl className="flex flex-wrap gap-x-5 gap-y-1">
          {facts.map(([name, , value]) => (
            <div key={name} className="flex gap-1.5">
              <dt className="text-muted">{name}</dt>
              <dd className="tabular-nums">{value}</dd>
            </div>
          ))}
        </dl>
      </div>
      {back.reason && <p className="text-warn">{back.reason}</p>}
      {back.told.length > 0 && (
        <ul className="grid gap-1">
          {back.told.map((one, at) => (
            <li key={at} className="flex items-start gap-2">
              <Icon name="alert" className={`mt-0.5 ${one.what === "conflict" ? "text-warn" : "text-danger"}`} />
              <span className="min-w-0">
                <span className="font-mono break-all">{one.path}</span>{" "}
                {one.what === "conflict" && one.kept_as ? (
                  <>
                    {t("run.back.conflict")} <span className="font-mono break-all">{one.kept_as}</span>
                  </>
                ) : (
                  <>
                    {t("run.back.refusal")} {one.reason}
                  </>
                )}{" "}
                <span className="font-mono text-xs text-muted">{one.rule}</span>
              </span>
            </li>
          ))}
        </ul>
      )}
      {untold > 0 && <p className="text-muted">{t("run.back.untold", { count: n(untold) })}</p>}
    </section>
  );
}
