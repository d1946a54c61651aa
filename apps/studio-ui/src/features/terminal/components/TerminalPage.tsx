import { useEffect, useRef, useState } from "react";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { Empty } from "@/components/ui/Empty";
import { Problem } from "@/components/ui/Problem";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { mayDevelop } from "@/lib/workspace";
import type { Program } from "../api/terminals";
import { readAloud, setReadAloud, terminals } from "../model";
import { TerminalTabs } from "./TerminalTabs";
import { TerminalView } from "./TerminalView";

const programs: readonly Program[] = ["shell", "python", "node"];

export function TerminalPage({ project }: { project: string }) {
  const { t } = useText();
  const { list, shown, loading, opening, failure } = useStore(terminals.state);
  const [asking, setAsking] = useState<string | null>(null);
  const tabs = useRef<HTMLDivElement>(null);
  const allowed = mayDevelop();
  useEffect(() => {
    if (allowed) void terminals.use(project);
  }, [project, allowed]);

  const close = async (id: string) => {
    if (await terminals.isBusy(id)) setAsking(id);
    else await terminals.close(id);
  };
  const leave = () => tabs.current?.querySelector<HTMLElement>('[role="tab"][aria-selected="true"]')?.focus();

  if (!allowed) return <Empty icon="terminal" title={t("term.title")} text={t("term.viewer")} />;
  const session = list.find((one) => one.facts.id === shown);
  return (
    <div className="flex h-full min-h-0 flex-col">
      <header className="flex flex-wrap items-center gap-x-3 gap-y-2 border-b border-line bg-panel px-3 py-1.5">
        <h1 className="sr-only">{t("term.title")}</h1>
        <TerminalTabs ref={tabs} list={list} shown={shown} close={(id) => void close(id)} />
        <NewTerminal opening={opening} />
        <ReadAloud />
      </header>
      {failure && (
        <div className="p-3">
          <Problem failure={failure} compact onRetry={list.length === 0 ? () => void terminals.use(project) : undefined}>
            <Button small onClick={() => terminals.dismiss()}>
              {t("common.close")}
            </Button>
          </Problem>
        </div>
      )}
      <div className="min-h-0 grow">
        {session ? (
          <TerminalView key={session.facts.id} session={session} leave={leave} close={() => void close(session.facts.id)} />
        ) : loading ? (
          <p role="status" className="p-4 text-muted">
            {t("common.loading")}
          </p>
        ) : (
          <Empty icon="terminal" title={t("term.empty.title")} text={t("term.empty.text")}>
            <Button look="primary" icon="terminal" disabled={opening} onClick={() => void terminals.open("shell")}>
              {t("term.empty.action")}
            </Button>
          </Empty>
        )}
      </div>
      {asking && <AskClose onClose={() => setAsking(null)} end={() => void terminals.close(asking)} />}
    </div>
  );
}

function NewTerminal({ opening }: { opening: boolean }) {
  const { t } = useText();
  const [program, setProgram] = useState<Program>("shell");
  return (
    <div className="flex items-center gap-2">
      <select aria-label={t("term.program")} className="field min-h-8 w-auto py-0.5" value={program} onChange={(event) => setProgram(event.target.value as Program)}>
        {programs.map((one) => (
          <option key={one} value={one}>
            {t(`term.program.${one}`)}
          </option>
        ))}
      </select>
      <Button small icon="plus" disabled={opening} onClick={() => void terminals.open(program)}>
        {t("term.new")}
      </Button>
    </div>
  );
}

function ReadAloud() {
  const { t } = useText();
  const on = useStore(readAloud);
  return (
    <label className="ml-auto flex min-h-8 items-center gap-2 text-[0.8125rem] text-muted">
      <input type="checkbox" className="size-4 accent-(--cds-button)" checked={on} onChange={(event) => setReadAloud(event.target.checked)} />
      {t("term.aloud")}
    </label>
  );
}

function AskClose({ onClose, end }: { onClose: () => void; end: () => void }) {
  const { t } = useText();
  return (
    <Dialog title={t("term.close.title")} onClose={onClose}>
      <p>{t("term.close.text")}</p>
      <div className="flex justify-end gap-2">
        <Button data-first onClick={onClose}>
          {t("term.close.keep")}
        </Button>
        <Button
          look="danger"
          icon="stop"
          onClick={() => {
            onClose();
            end();
          }}
        >
          {t("term.close.end")}
        </Button>
      </div>
    </Dialog>
  );
}
