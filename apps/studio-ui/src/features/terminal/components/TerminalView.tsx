import { useEffect, useRef } from "react";
import { Button } from "@/components/ui/Button";
import { PortChips } from "@/components/ui/PortChips";
import { integer } from "@/lib/format";
import { useText, type TextKey } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { usePorts } from "@/lib/usePorts";
import { terminals } from "../model";
import type { Session, SessionView } from "../model/session";
import type { XtermScreen } from "../xterm/screen";
import { panelId } from "./TerminalTabs";

/** The screen of one terminal, and a line that says how it is and how to leave it. */
export function TerminalView({ session, leave, close }: { session: Session; leave: () => void; close: () => void }) {
  const place = useRef<HTMLDivElement>(null);
  const { t } = useText();
  const leaving = useRef(leave);
  useEffect(() => {
    leaving.current = leave;
  }, [leave]);
  useEffect(() => {
    const screen = session.screen as XtermScreen;
    const holder = place.current;
    if (!holder) return undefined;
    screen.show(holder);
    screen.onLeave = () => leaving.current();
    const watcher = new ResizeObserver(() => session.fit());
    watcher.observe(holder);
    session.fit();
    screen.focus();
    return () => {
      watcher.disconnect();
      screen.element.remove();
    };
  }, [session]);
  return (
    <div id={panelId} role="tabpanel" aria-label={t("term.screen")} className="flex h-full min-h-0 flex-col bg-panel">
      <div ref={place} data-testid="terminal" className="min-h-0 grow overflow-hidden p-2" />
      <Ports session={session} />
      <Line session={session} close={close} />
    </div>
  );
}

/** Ports that its programs listen on, while it runs. */
function Ports({ session }: { session: Session }) {
  const { state } = useStore(session.view);
  return state === "live" ? <LivePorts key={session.facts.id} project={session.project} termId={session.facts.id} /> : null;
}

function LivePorts({ project, termId }: { project: string; termId: string }) {
  const { chips, failure, open, close, dismiss } = usePorts({ project, term_id: termId });
  return <PortChips chips={chips} failure={failure} onOpen={open} onClose={close} onDismiss={dismiss} />;
}

const tones: Record<SessionView["state"], string> = { connecting: "text-warn", live: "text-ok", away: "text-warn", ended: "text-muted", failed: "text-danger" };

function Line({ session, close }: { session: Session; close: () => void }) {
  const { t, locale } = useText();
  const view = useStore(session.view);
  const over = view.state === "ended" || view.state === "failed";
  return (
    <div className="flex min-h-8 flex-wrap items-center gap-x-4 gap-y-1 border-t border-line px-3 py-1 font-mono text-xs text-muted">
      <span role="status" data-testid="terminal-state" className={tones[view.state]}>
        {over ? t(endKey(view), { code: view.result?.exit_code ?? "", signal: view.result?.signal ?? "" }) : t(`term.state.${view.state}`)}
      </span>
      {view.failure && (
        <span role="alert" className="text-danger">
          {t(`problem.${view.failure.name}`)}: {view.failure.facts.detail}
        </span>
      )}
      {view.lostBytes > 0 && <span className="text-warn">{t("term.lost", { count: integer(view.lostBytes, locale) })}</span>}
      {over ? (
        <span className="ml-auto flex gap-2">
          <Button small icon="refresh" onClick={() => void terminals.open(session.facts.program)}>
            {t("term.again")}
          </Button>
          <Button small icon="close" onClick={close}>
            {t("common.close")}
          </Button>
        </span>
      ) : (
        <span className="ml-auto">
          <kbd className="rounded-small border border-line bg-raised px-1.5">F6</kbd> {t("term.leave")}
        </span>
      )}
    </div>
  );
}

/** Each end has its sentence; a terminal the server no longer knows went with the sandbox. */
function endKey({ state, result }: SessionView): TextKey {
  if (state === "failed") return "term.state.failed";
  return result ? `term.end.${result.end}` : "term.end.gone";
}
